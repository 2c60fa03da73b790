"""In what shape a fact is best taught, and who gives the verdict: the adapter, or a judge.

    python benchmarks/shapes.py

The first session of each person is learned three times from the base model on, with 100 of its
recorded questions, each taught as its reply: the fact alone ("Your bakery is closed on Mondays.",
what an adapter learns by default), the fact and the verdict behind it ("... Yes."), or the verdict
and the fact behind it ("Yes. ..."); what was never raised in all three as "We never talked about
that.", and open questions as the fact. Then the rest of the recorded questions and `qa_test` are
asked.

Printed is how often exactly the fact behind a question is the likeliest reply; of closed questions
how often the verdict is right that the adapter gives with it, and the judge's on that same reply;
and both verdicts where the right fact is given (the adapter's by which of the two replies that hold
it is likelier). ana and bo are among those whom the package's judge was taught with, so this one is
taught with all others, for some five minutes.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from common import CHATS, named, shelve
from consolidation import copied, left_out

from plum_langchain import LearningSettings, QuestionSettings, ServingSettings
from plum_langchain.adapters import AdapterRef, AdapterStore
from plum_langchain.consolidation.everyday import everyday_samples
from plum_langchain.evaluation import machine, read_exams
from plum_langchain.evaluation.exam import Exam, ExamQuestion
from plum_langchain.evaluation.report import percent
from plum_langchain.learning import encoder_for, learn
from plum_langchain.memories.answer import ANSWER_TOKENS
from plum_langchain.memories.recital import RECITALS
from plum_langchain.models import Engine, load_model, resolve_model
from plum_langchain.questions import question_maker
from plum_langchain.session import UNKNOWN_ANSWER, Question
from plum_langchain.verdicts import Judge, verdict
from plum_langchain.verdicts.pairs import shipped_pairs

WORDS = ("Yes", "No")

SHAPES: Mapping[str, Callable[[str, str], str]] = {
    "the fact": lambda fact, word: fact,
    "the fact, the verdict": lambda fact, word: f"{fact} {word}.",
    "the verdict, the fact": lambda fact, word: f"{word}. {fact}",
}
"""What is replied to a closed question, by the fact behind it and its answer."""


@dataclass(frozen=True)
class Asked:
    """What came of one question.

    Attributes:
        kind: Of the question.
        yes: Whether Yes is right; None for an open question.
        came: Whether exactly the fact behind it came back; None if it isn't known.
        verdicts: Whether it was affirmed, by who judged what ("adapter", "judge", and each with the
            right fact given); without what can't be said.
    """

    kind: str
    yes: bool | None
    came: bool | None
    verdicts: Mapping[str, bool]


def main() -> None:
    """Learn, ask and print."""
    arguments = _arguments()
    settings = LearningSettings(**{"gate": None, **named(arguments.settings)})
    resolved = resolve_model(arguments.model)
    base = load_model(resolved, device="cpu", dtype=settings.dtype)
    everyday = everyday_samples(
        base, encoder_for(base.tokenizer, settings), weight=settings.everyday_weight
    )
    exams = read_exams([CHATS / f"{person}.jsonl" for person in arguments.people])
    print(f"machine: {json.dumps(machine())}")
    rows: list[dict[str, str]] = []
    with tempfile.TemporaryDirectory() as directory:
        store = AdapterStore(Path(directory) / "adapters")
        engine = Engine(lambda: resolved, store, ServingSettings(device="cpu"))
        judge = Judge(engine, [one for one in shipped_pairs() if one.of not in arguments.people])
        for index, (name, shape) in enumerate(SHAPES.items()):
            found: list[Asked] = []
            seconds = []
            for exam in exams:
                for number in range(arguments.sessions):
                    chosen, unseen, wanted = _questions(exam, number)
                    place = Path(directory) / f"{exam.user_id}-{number}-{index}"
                    place.mkdir()
                    started = time.perf_counter()
                    learn(
                        base.model, base.tokenizer, [_shaped(q, shape) for q in chosen], place,
                        settings=replace(settings, seed=number), everyday=everyday,
                    )  # fmt: skip
                    seconds.append(time.perf_counter() - started)
                    print(f"{place.name}: {seconds[-1]:.0f} s", file=sys.stderr, flush=True)
                    adapter = shelve(store, resolved, place.name, settings, copied(place))
                    ask = _Asking(engine, judge, adapter, shape, settings.system_prompt)
                    found += [ask(one, wanted.get(one.question)) for one in unseen]
            rows.append({"taught": name, **_row(found), "s": f"{statistics.mean(seconds):.0f}"})
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)  # each took long
    header = list(rows[0])
    for cells in (header, ["---"] * len(header), *(row.values() for row in rows)):
        print("| " + " | ".join(cells) + " |")


def _questions(
    exam: Exam, number: int
) -> tuple[list[Question], list[ExamQuestion], dict[str, str]]:
    """What is learned of a session, what is asked, and the recital behind that where it's known."""
    session = exam.sessions[number]
    whole = question_maker("recorded", QuestionSettings(max_questions=None)).make(session)
    learned = question_maker("recorded", QuestionSettings(max_questions=100)).make(session)
    unseen = [*exam.about([session.session_id]), *left_out(whole, learned, session)]
    return learned, unseen, {question.question: question.recital for question in whole}


def _shaped(question: Question, shape: Callable[[str, str], str]) -> Question:
    if not question.closed or question.statement is None:
        return question
    return replace(question, statement=shape(question.statement, question.answer))


class _Asking:
    """Asks questions of an adapter whose replies have a shape."""

    def __init__(
        self,
        engine: Engine,
        judge: Judge,
        adapter: AdapterRef,
        shape: Callable[[str, str], str],
        system_prompt: str | None,
    ) -> None:
        self._engine = engine
        self._judge = judge
        self._adapter = adapter
        self._shape = shape
        self._system_prompt = system_prompt

    def __call__(self, question: ExamQuestion, wanted: str | None) -> Asked:
        chat = [
            {"role": "system", "content": self._system_prompt or ""},
            {"role": "user", "content": question.question},
        ]
        reply = self._engine.likely(chat, self._adapter, RECITALS, ANSWER_TOKENS)[0][0].text
        fact, word = self._parted(reply)
        came = None if wanted in (None, UNKNOWN_ANSWER) else fact == wanted
        verdicts: dict[str, bool] = {}
        if question.closed:
            verdicts["judge"] = verdict(self._judge, fact, question.question) > 0.5
            if self._says_verdict:
                verdicts["adapter"] = (word or reply.rstrip(".")) == "Yes"
            if wanted is not None and wanted != UNKNOWN_ANSWER:
                verdicts["judge, given"] = verdict(self._judge, wanted, question.question) > 0.5
                if self._says_verdict:
                    both = {self._shape(wanted, word): word for word in WORDS}
                    likelier = self._engine.likelihoods(chat, self._adapter, list(both))[0]
                    verdicts["adapter, given"] = both[likelier.text] == "Yes"
        yes = question.answer == "Yes" if question.closed else None
        return Asked(question.kind, yes, came, verdicts)

    @property
    def _says_verdict(self) -> bool:
        return self._shape("", "Yes") != self._shape("", "No")

    def _parted(self, reply: str) -> tuple[str, str | None]:
        """The fact and the verdict in a reply; all of it where no verdict is found."""
        for word in WORDS if self._says_verdict else ():
            before, after = self._shape("\0", word).split("\0")
            if reply.startswith(before) and reply.endswith(after):
                return reply[len(before) : len(reply) - len(after)], word
        return reply, None


def _row(found: Sequence[Asked]) -> dict[str, str]:
    cells = {}
    for kind, name in (("yes", "fact: yes"), ("no_same_slot", "same slot"), ("open", "open")):
        came = [one.came for one in found if one.kind == kind and one.came is not None]
        cells[name] = f"{percent(sum(came) / len(came))} of {len(came)}" if came else "-"
    for who in ("adapter", "judge", "adapter, given", "judge, given"):
        cells[f"verdict of the {who}"] = _balanced(
            [one for one in found if who in one.verdicts], who
        )
    return cells


def _balanced(found: Sequence[Asked], who: str) -> str:
    right: dict[bool, list[bool]] = {True: [], False: []}
    for one in found:
        right[bool(one.yes)].append(one.verdicts[who] == one.yes)
    if not right[True] or not right[False]:
        return "-"
    yes, no = (sum(right[key]) / len(right[key]) for key in (True, False))
    return f"{percent((yes + no) / 2)} (yes {percent(yes)} of {len(right[True])}, " \
           f"no {percent(no)} of {len(right[False])})"  # fmt: skip


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("settings", nargs="*", metavar="NAME=VALUE", help="LearningSettings")
    parser.add_argument("--people", nargs="+", default=["ana", "bo"])
    parser.add_argument("--sessions", type=int, default=1, help="of each person")
    parser.add_argument("--model", default="smollm2")
    return parser.parse_args()


if __name__ == "__main__":
    main()
