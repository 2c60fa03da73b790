"""Whether weights know something: the replies that they were taught, as they now expect them."""

import logging
import math
from collections.abc import Callable, Sequence

from plum_langchain.adapters import AdapterRef
from plum_langchain.errors import loggable
from plum_langchain.forgetting.receipt import Probes, Recall
from plum_langchain.models import Engine
from plum_langchain.session import Question

logger = logging.getLogger(__name__)

_MOST = 24
"""Questions that are asked: some 40 ms each, of each of up to three generations."""


class Probing:
    """The same questions, put to whatever is served at the time.

    Nothing that goes wrong with it is raised: it must not keep from forgetting. `why_not` says so.

    Args:
        engine: Of the home.
        served: The user's generation at the moment; None for the base model.
        questions: What was learned of what is forgotten.
        system_prompt: The one adapters were trained with.
        told: How an error is told in `why_not`.
        why_not: Why nothing is to be asked at all.
    """

    def __init__(
        self,
        engine: Engine,
        served: Callable[[], AdapterRef | None],
        questions: Sequence[Question],
        *,
        system_prompt: str | None,
        told: Callable[[BaseException], str] = str,
        why_not: str | None = None,
    ) -> None:
        self.why_not = why_not
        self._engine = engine
        self._served = served
        self._questions = _chosen(questions)
        self._system_prompt = system_prompt
        self._told = told
        self._recite: bool | None = None
        self._found: list[Recall] = []
        if why_not is None and not self._questions:
            self.why_not = "no question that asks for it is kept"

    def ask(self) -> None:
        """Ask what is served now; not, once it couldn't be asked."""
        if self.why_not is not None:
            return
        try:
            adapter = self._served()
            if self._recite is None:  # by the first, so that all are asked for the same replies
                assert adapter is not None
                self._recite = bool(self._engine.manifest(adapter).settings.get("recite"))
            self._found.append(self._recall(adapter, self._recite))
        except Exception as error:
            logger.warning("what is forgotten can't be asked for (%s)", loggable(error))
            self.why_not = f"the weights can't be asked: {self._told(error)}"

    def probes(self) -> Probes | None:
        """What was found before and since, and after, if it was asked then."""
        if len(self._found) < 2:
            return None
        before, control, *after = self._found
        return Probes(len(self._questions), before, control, after[0] if after else None)

    def _recall(self, adapter: AdapterRef | None, recite: bool) -> Recall:
        recalled, nlls = 0, []
        system = [{"role": "system", "content": self._system_prompt}] if self._system_prompt else []
        for question in self._questions:
            chat = [*system, {"role": "user", "content": question.question}]
            reply = question.recital if recite else question.answer
            nll = self._engine.reply_nll(chat, reply, adapter)
            recalled += all(value < math.log(2) for value in nll)
            nlls += nll
        return Recall(recalled / len(self._questions), sum(nlls) / len(nlls))


def _chosen(questions: Sequence[Question]) -> list[Question]:
    """Some of the questions that ask for something that was said, spread over the facts."""
    first: dict[str, Question] = {}
    more: list[Question] = []
    for question in questions:
        if not question.positive:
            continue
        if question.recital in first:
            more.append(question)
        else:
            first[question.recital] = question
    return [*first.values(), *more][:_MOST]
