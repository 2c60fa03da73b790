"""How far what is learned of a chat is from what will be asked, without learning anything.

    python benchmarks/nearest.py --people ana bo --questions recorded statements
    python benchmarks/nearest.py --people ana --home <one in which ana's sessions were learned>

The questions that a maker makes of all sessions of a person, or those learned in a home, and the
person's `qa_test` questions (answered Yes and open ones) are embedded with all-MiniLM-L6-v2.
Counted is how often the nearest of the former is about the turns that answer the latter, or one of
the five nearest is. It takes a minute, and goes with what an adapter that learned those questions
will recall (docs/experiments.md, "What limits the default").
"""

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from common import CHATS

from plum_langchain import Plum, QuestionSettings
from plum_langchain.errors import UnknownUserError
from plum_langchain.importers import read_sessions
from plum_langchain.memories.embeddings import LocalEmbeddings
from plum_langchain.questions import question_maker
from plum_langchain.session import Question

Learned = tuple[str, Question]
"""The session's id, and what is learned of it."""


def main() -> None:
    """Print a Markdown row for each person and maker."""
    arguments = _arguments()
    embeddings = LocalEmbeddings()
    print("| of | questions | learned | kind | asked | nearest | one of five |")
    print("|" + " --- |" * 7, flush=True)
    for person in arguments.people:
        named: dict[str, list[Learned]] = {}
        if arguments.home is not None:
            named["those of the home"] = _in_home(arguments.home, person)
        else:
            settings = QuestionSettings(max_questions=arguments.max_questions, seed=arguments.seed)
            for name in arguments.questions:
                named[name] = _made(person, name, settings)
        for name, learned in named.items():
            for kind, found in _found(embeddings, learned, person).items():
                first, five = (sum(one) / len(found) for one in zip(*found, strict=True))
                print(
                    f"| {person} | {name} | {len(learned)} | {kind} | {len(found)} | {first:.0%} "
                    f"| {five:.0%} |",
                    flush=True,
                )


def _made(person: str, name: str, settings: QuestionSettings) -> list[Learned]:
    maker = question_maker(name, settings)
    sessions = [session for session, _ in read_sessions(CHATS / f"{person}.jsonl")]
    return [(one.session_id, question) for one in sessions for question in maker.make(one)]


def _in_home(home: Path, person: str) -> list[Learned]:
    plum = Plum(home)
    head = plum.journal.generations.head(person)
    if head is None:
        raise UnknownUserError(f"nothing was learned of {person!r} in {home}")
    learned = plum.journal.generations.replay_questions(person, head.number)
    by_key = plum.journal.sessions.by_key
    return [(by_key(key).session_id, one) for key, own in learned.items() for one in own]


def _found(
    embeddings: LocalEmbeddings, learned: Sequence[Learned], person: str
) -> dict[str, list[tuple[bool, bool]]]:
    """By kind, for each question: whether the nearest is about its turns, and one of five is."""
    import torch

    asked = [
        (session.session_id, question)
        for session, record in read_sessions(CHATS / f"{person}.jsonl")
        for question in record["qa_test"]
        if question["kind"] in ("yes", "open") and "until" not in question
    ]
    questions = [question["question"] for _, question in asked]
    near = (
        torch.tensor(embeddings.embed_documents(questions))
        @ torch.tensor(embeddings.embed_documents([one.question for _, one in learned])).T
    )  # (asked, learned): cosines, since both are of length 1
    found: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    for (session_id, question), nearest in zip(asked, near.topk(5).indices.tolist(), strict=True):
        turns = set(question["evidence"])
        hits = [
            of == session_id and one.statement is not None and bool(turns & set(one.evidence))
            for of, one in (learned[place] for place in nearest)
        ]
        found[question["kind"]].append((hits[0], any(hits)))
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", nargs="+", default=["ana", "bo"])
    parser.add_argument("--questions", nargs="+", default=["recorded", "statements"])
    parser.add_argument("--max-questions", type=int, default=150, help="of each session")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--home", type=Path, help="ask about what was learned there instead")
    return parser.parse_args()


if __name__ == "__main__":
    main()
