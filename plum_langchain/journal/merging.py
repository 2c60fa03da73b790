"""What is new in a stretch of a thread's messages, given what the journal has of the thread."""

import re
from collections.abc import Sequence

from plum_langchain.session import Turn

_UNIQUE_LENGTH = 16
"""An id this long (LangChain's are UUIDs of 36) is no number, if a letter follows a digit in it, as
in none that ends in a counter ("user-message-0001"): no two messages share it."""


def is_unique(message_id: str | None) -> bool:
    """Whether an id tells a message by itself, whatever its text is."""
    found = message_id or ""
    return len(found) >= _UNIQUE_LENGTH and re.search("[0-9][a-zA-Z]", found) is not None


def unrecorded(recorded: Sequence[Turn], given: Sequence[Turn]) -> list[Turn]:
    """The turns of `given` that aren't recorded yet.

    Whatever stands before the last turn whose message id is known was there when that one was
    recorded: it is in the journal, or isn't the user's chat (a summary or a document that a
    middleware put in front). Behind it what is recorded without an id is known by its text. Where
    no id is known, a caller passes the whole history anew, and the longest overlap of the
    recorded end with the beginning of `given` tells; or, if a reply is made anew or a message
    sent in other words, how much of its beginning is recorded in this order. (A chat that begins
    as an earlier one of its thread did, and is passed only when it is over, is new from where they
    part.)

    An id counts with the same text, or if the text is gone. Of a client that numbers its messages
    the same number may be another message.

    Args:
        recorded: All turns of the thread, oldest first; forgotten ones without their text.
        given: Consecutive turns of the thread, up to the latest.
    """
    start, at = _last_known(recorded, given)
    if start:
        start += _known_by_text(recorded[at + 1 :], given[start:])
    else:
        start = _overlap(recorded, given) or _in_order(recorded, given)
    edited = _last_of_user(given)
    fresh, seen = [], set()
    for index, turn in enumerate(given):
        is_new = index >= start or (index == edited and _is_edited(recorded, turn))
        named = turn.message_id, turn.role
        if is_new and (turn.message_id is None or named not in seen):
            fresh.append(turn)
            seen.add(named)
    return fresh


def lately_said(turns: Sequence[Turn]) -> list[Turn]:
    """What may have been edited or redacted: the user's last turn, and the reply to it."""
    last = _last_of_user(turns)
    if last is None:
        return list(turns[-1:])
    return [turns[last], *turns[last + 1 :][-1:]]


def _last_known(recorded: Sequence[Turn], given: Sequence[Turn]) -> tuple[int, int]:
    """Up to where in `given` the ids are known, and where in `recorded` the last of them is."""
    there: dict[tuple[str, str], list[int]] = {}
    for place, turn in enumerate(recorded):
        if turn.message_id is not None:
            there.setdefault((turn.message_id, turn.role), []).append(place)
    end = recorded[-1].message_id if recorded else None
    again = end is not None and end in {turn.message_id for turn in given}
    start = at = 0
    furthest = -1  # of what is known by its text as well
    for index, turn in enumerate(given):
        places = there.get((turn.message_id or "", turn.role), [])
        sure = [place for place in places if _is_surely(recorded[place], turn)]
        # Its text is gone, and its number may be another message's: only in the right order, and
        # in a stretch that reaches the recorded end, as the history of the same chat does.
        gone = [p for p in places if not recorded[p].content and again and p > furthest]
        if sure or gone:
            start, at = index + 1, (sure or gone)[-1]
        elif places and not is_unique(turn.message_id):
            break  # this number is another message's: it is another chat from here on
        furthest = max([furthest, *sure])
    return start, at


def _is_surely(there: Turn, turn: Turn) -> bool:
    """Whether a turn of the same id and role is the same message."""
    if there.content == turn.content:
        return True
    # What an assistant said may have been redacted since; what a user said may be an edit.
    return is_unique(turn.message_id) and (not there.content or turn.role == "assistant")


def _is_edited(recorded: Sequence[Turn], turn: Turn) -> bool:
    """Whether it was said in other words before."""
    same = [t for t in recorded if (t.message_id, t.role) == (turn.message_id, turn.role)]
    return is_unique(turn.message_id) and bool(same) and not any(_is_surely(t, turn) for t in same)


def _last_of_user(given: Sequence[Turn]) -> int | None:
    places = [index for index, turn in enumerate(given) if turn.role == "user"]
    return places[-1] if places else None


def _known_by_text(recorded: Sequence[Turn], given: Sequence[Turn]) -> int:
    """How many turns at the beginning of `given` are recorded, both behind the same known turn.

    Those that are the end of `recorded`, as behind a message that was never answered; or else what
    both begin with.
    """
    for begin in range(len(recorded)):
        rest = recorded[begin:]
        if len(rest) <= len(given) and all(map(_reads_as, rest, given)):
            return len(rest)
    size = 0
    while size < min(len(recorded), len(given)) and _reads_as(recorded[size], given[size]):
        size += 1
    return size


def _reads_as(there: Turn, turn: Turn) -> bool:
    """Whether a turn behind the same one is the same message, where not both have an id.

    Replies may have ids of a client's own; a forgotten one stands for whatever it was.
    """
    if there.role != turn.role:
        return False
    if turn.role == "assistant":
        return there.content in ("", turn.content)
    return there.content == turn.content and None in (there.message_id, turn.message_id)


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


def _in_order(recorded: Sequence[Turn], given: Sequence[Turn]) -> int:
    """How many turns at the beginning of `given` are recorded in this order; two at least, or 0.

    Not all of what is recorded is in `given`: of two replies to the same message a client sends
    the one that its user kept. A single exchange is no history: it was said again.
    """
    size = 0
    for there in recorded:
        next_one = given[size] if size < len(given) else None
        if next_one and (there.role, there.content) == (next_one.role, next_one.content):
            size += 1
    return size if size > 1 and len(given) > 2 else 0
