"""What is new in a stretch of a thread's messages, given what the journal has of the thread."""

from collections.abc import Sequence

from plum_langchain.session import Turn


def unrecorded(recorded: Sequence[Turn], given: Sequence[Turn]) -> list[Turn]:
    """The turns of `given` that come after what is recorded.

    Whatever stands before the last turn whose message id is known was there when that one was
    recorded: it is in the journal, or isn't the user's chat (a summary or a document that a
    middleware put in front). Where no id is known, a caller passes the whole history anew, and
    the longest overlap of the recorded end with the beginning of `given` tells.

    Args:
        recorded: All turns of the thread, oldest first; forgotten ones without their text.
        given: Consecutive turns of the thread, up to the latest.
    """
    known = {turn.message_id for turn in recorded if turn.message_id is not None}
    start = next((i for i in range(len(given), 0, -1) if given[i - 1].message_id in known), 0)
    if start == 0:
        start = _overlap(recorded, given)
    fresh, seen = [], set()
    for turn in given[start:]:
        if turn.message_id is None or turn.message_id not in seen:
            fresh.append(turn)
            seen.add(turn.message_id)
    return fresh


def _overlap(recorded: Sequence[Turn], given: Sequence[Turn]) -> int:
    """How many turns at the beginning of `given` are the end of `recorded`.

    A forgotten turn stands for any of its role, since its text is gone; but at least one turn
    must be the same word for word, so that a new chat is never taken for a forgotten one.
    """
    for size in range(min(len(recorded), len(given)), 0, -1):
        pairs = list(zip(recorded[-size:], given[:size], strict=True))
        same = [there.content == turn.content for there, turn in pairs]
        may_be = [
            there.role == turn.role and there.content in ("", turn.content) for there, turn in pairs
        ]
        if all(may_be) and any(same):
            return size
    return 0
