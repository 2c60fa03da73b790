"""Going back: what of a `Plum` erases chats, and serves weights that never knew them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from plum_langchain.consolidation import Consolidated
from plum_langchain.consolidation.progress import ProgressCallback
from plum_langchain.errors import InvalidInputError
from plum_langchain.forgetting import (
    Doomed,
    Forgetter,
    Forgotten,
    Mention,
    find_mentions,
    mentions_of,
    told_again,
)
from plum_langchain.journal import Journal
from plum_langchain.memories import Retrieval

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from plum_langchain.questions.maker import QuestionMaker


class GoingBack(ABC):
    """The part of a `Plum` that forgets. `Plum` sets what is declared here."""

    journal: Journal
    _forgetter: Forgetter
    _retrieval: Retrieval

    @abstractmethod
    def consolidate(
        self,
        user_id: str | None = None,
        *,
        questions: "str | QuestionMaker | BaseChatModel | None" = None,
        progress: ProgressCallback | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> list[Consolidated]:
        """Learn finished sessions now."""

    def rollback(
        self, user_id: str, generation: int, *, lose_later: bool = False
    ) -> tuple[int, ...]:
        """Serve an earlier generation; sessions learned since go back in line.

        Generation 0 is the base model: all chats are learned anew from the journal, which is the
        way out when an adapter is damaged, lost, or of another base model.

        Args:
            user_id: Whose.
            generation: The one to serve again.
            lose_later: Forget sessions learned since of which nothing is kept to learn them again
                (`HomeSettings.retention`).

        Returns:
            The generations given up.

        Raises:
            UnknownGenerationError: pruned, or never made.
            SessionStateError: without `lose_later`, where there are such sessions.
            BusyError: another worker holds the user.
        """
        return self._forgetter.rollback(user_id, generation, lose_later=lose_later)

    def mentions(
        self, user_id: str, about: str | None = None, *, session: str | None = None
    ) -> list[Mention]:
        """The turns that `forget` of the same would erase; what `forget(about=...)` shows.

        Those in which an assistant only tells it again since come last (`Mention.again`); they go
        with what they tell again, whether they are confirmed or not.

        Args:
            user_id: Whose chats.
            about: A subject or a sentence, in free text: the turns that speak of it.
            session: A session, instead.

        Raises:
            InvalidInputError: not one of the two, or the subject is empty.
            UnknownUserError, UnknownSessionError: no such chats.
            ModelNotFoundError: the embeddings' weights are nowhere to be found.
        """
        if (about is None) == (session is None):
            raise InvalidInputError("say of what: a subject or session='...', one of them")
        self.journal.sessions.require_user(user_id)
        if session is not None:
            found = mentions_of(self.journal, user_id, session)
            doomed = Doomed((session,))
        elif about is not None and about.strip():
            found = find_mentions(self.journal, self._retrieval.embeddings, user_id, about)
            doomed = Doomed.of_mentions(self.journal, user_id, found)
        else:
            raise InvalidInputError("about is empty; say what is to be forgotten: about='my boat'")
        return found + told_again(self.journal, user_id, doomed) if found else []

    def forget(
        self,
        user_id: str,
        session: str | None = None,
        *,
        about: str | Sequence[Mention] | None = None,
        confirm: Callable[[Sequence[Mention]], Sequence[Mention]] | None = None,
        all: bool = False,
        relearn: bool = False,
        questions: "str | QuestionMaker | BaseChatModel | None" = None,
        lose_later: bool = False,
        probe: bool = True,
        progress: ProgressCallback | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> Forgotten:
        """Erase a session, a subject or everything of a user: from journal, weights and index.

        Serving goes back at once to the newest generation that never knew it (or to the base
        model); every later one is destroyed, and the sessions learned after it are in line to be
        learned again. Turns in which an assistant has told it again since go with it, whichever
        session they are of (`Forgotten.turns`). The receipt says what is gone, proves it by
        questions and by a search of the home's files, and is kept (`receipts`). A consolidation of
        this user under way is asked to stop first. What is cut off in the middle is ended by
        whoever opens the home next; nobody is served what is being forgotten meanwhile.

        Args:
            user_id: Whose.
            session: One session.
            about: A subject, instead: the turns that speak of it, wherever they stand. In free
                text, or what of `mentions` is to go.
            confirm: With free text: is shown what was found, and returns what of it is to be
                forgotten.
            all: Everything of the user, instead.
            relearn: Learn what came after it again before returning, as `consolidate` does, and
                ask those weights as well.
            lose_later: Forget sessions learned after it of which nothing is kept to learn them
                again (`HomeSettings.retention`).
            probe: Ask the weights about it before and after. It takes a second or two, and the base
                model; without, the receipt proves less.
            questions: Of `relearn`, as for `consolidate`.
            progress: Likewise.
            should_stop: Likewise.

        Returns:
            The receipt. If nothing was found, or nothing confirmed, it is empty.

        Raises:
            InvalidInputError: not exactly one of `session`, `about` and `all`; or free text without
                `confirm`.
            UnknownUserError, UnknownSessionError: nothing to forget.
            SessionStateError: without `lose_later`, where sessions would be lost.
            BusyError: a worker holds the user and doesn't let go, or another process owns the
                retrieval index. Nothing was changed.
            EncryptionError: the key can't be destroyed yet. It is forgotten all the same, and
                whoever opens the home next tries again.
            LeaseLostError: another worker took over in the middle. What isn't done yet is done by
                whoever opens the home next.
            StoppedError, Exception: of `relearn`, as for `consolidate`; it is forgotten all the
                same, and the receipt is among `receipts`.
        """
        if [session is not None, about is not None, all].count(True) != 1:
            raise InvalidInputError(
                "say what to forget: a session, about='a subject' or all=True, one of them"
            )
        if about is None:
            doomed = Doomed(None) if session is None else Doomed((session,))
        elif not isinstance(about, str):
            doomed = Doomed.of_mentions(self.journal, user_id, about)
        elif confirm is None:
            raise InvalidInputError(
                "about='...' needs confirm=, a function that is shown what was found and returns "
                "what of it is to be forgotten (lambda found: found for all of it); or give "
                "about= what plum.mentions() has found"
            )
        else:
            found = confirm(self.mentions(user_id, about))
            doomed = Doomed.of_mentions(self.journal, user_id, found)
        if doomed.is_nothing():
            return Forgotten(user_id, no_probes="nothing was to be forgotten")

        def learn_again() -> list[str]:
            done = self.consolidate(
                user_id, questions=questions, progress=progress, should_stop=should_stop
            )
            return [one.session_id for one in done if one.state == "learned"]

        return self._forgetter.forget(
            user_id,
            doomed,
            lose_later=lose_later,
            probe=probe,
            relearn=learn_again if relearn else None,
        )

    def receipts(self, user_id: str) -> list[dict[str, Any]]:
        """The receipts of all that was forgotten of a user, oldest first (`Forgotten.to_json`)."""
        return self.journal.forgettings.receipts(user_id)
