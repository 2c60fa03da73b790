"""What of a session's material stays when it is cut: some turns forgotten, or only its end new."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from plum_langchain.session import NEVER_RAISED_KINDS, Session


def without_turns(material: Mapping[str, Any], positions: Collection[int]) -> dict[str, Any]:
    """What came with a session, but for what rests on these turns.

    Of what names no turn (the facts that it changes, questions without evidence, anything this
    version doesn't know) it can't be told, and it goes.
    """
    return _resting_on(material, lambda turn: None if turn in positions else turn)


def of_the_rest(
    material: Mapping[str, Any], first: int, before: Sequence[Session]
) -> dict[str, Any]:
    """What came with a chat that has grown, as far as it is its new part's.

    Args:
        material: Of the whole chat.
        first: The turn that the new part begins with; it is the part's turn 0.
        before: The earlier parts. Changes of facts that came with them are theirs; where nothing
            of a part was kept, it can't be told whose any is, and none comes with the new part.
    """
    kept = _resting_on(material, lambda turn: turn - first if turn >= first else None)
    updates = material.get("updates")
    if isinstance(updates, list) and all(part.kept != "nothing" for part in before):
        known = [
            _change(update) for part in before for update in part.material.get("updates") or ()
        ]
        kept["updates"] = [update for update in updates if _change(update) not in known]
    return kept


def _change(update: Any) -> Any:
    return (update.get("old"), update.get("new")) if isinstance(update, Mapping) else update


def _resting_on(material: Mapping[str, Any], placed: Callable[[int], int | None]) -> dict[str, Any]:
    """Facts and questions whose turns all have a place (None for none), at those places."""

    def places(turns: Any) -> list[int] | None:
        found = [placed(turn) if isinstance(turn, int) else None for turn in turns]
        kept = [place for place in found if place is not None]
        return kept if len(kept) == len(found) else None

    kept: dict[str, Any] = {}
    if isinstance(facts := material.get("facts"), list):
        kept["facts"] = [
            {**fact, "turn": at[0]}
            for fact in facts
            if isinstance(fact, Mapping) and (at := places([fact.get("turn")]))
        ]
    if isinstance(lines := material.get("qa_train"), list):
        kept["qa_train"] = []
        for line in lines:
            if not isinstance(line, Mapping):
                continue
            evidence = line.get("evidence") or []
            at = places(evidence if isinstance(evidence, list) else [None])
            if at:
                kept["qa_train"].append({**line, "evidence": at})
            elif at is not None and line.get("kind") in NEVER_RAISED_KINDS:  # rests on no turn
                kept["qa_train"].append(dict(line))
    if "not_discussed" in material:
        kept["not_discussed"] = material["not_discussed"]
    return kept
