"""Which messages are taken as asking for what the user told.

    python benchmarks/scope.py
    python benchmarks/scope.py --left-out

The questions of `qa_test` should be most of them; of everyday prompts, neutral texts and what
people say in the example chats few. chidi and dara are tried, with the readout that comes with the
package. With --left-out it is ana and bo, with one that was fitted without them, and the half of
the messages in `plum_langchain/scope` that it wasn't fitted with, by themselves and as they are put
together with facts of theirs.
"""

import argparse
import json
import random
import time
from collections import defaultdict
from pathlib import Path

from common import CHATS

from plum_langchain.evaluation import machine, read_exams
from plum_langchain.evaluation.everyday import everyday_prompts, neutral_texts
from plum_langchain.evaluation.report import percent
from plum_langchain.learning.template import Message
from plum_langchain.scope import Scope
from plum_langchain.scope.examples import examples, shipped_messages
from plum_langchain.scope.reader import Reader
from plum_langchain.scope.scope import fitted
from plum_langchain.verdicts.pairs import shipped_pairs

_SPEAKERS = {"user": "Human", "assistant": "AI"}

TEXT_LENGTHS = (150, 300, 600, 2000)
"""Characters of neutral texts above a message, in turn."""

PUT_TOGETHER = (
    "asked, then a closing",
    "other, then a closing",
    "a text, then asked",
    "a text, then other",
    "follow-up to memory",
    "another follow-up",
    "facts",
    "facts, then asked",
    "facts, then other",
)

Tried = dict[str, list[list[Message]]]


def main() -> None:
    """Try, and print the share of each kind that is taken so."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--left-out", action="store_true")
    parser.add_argument("--seed", type=int, default=0, help="of the fitting, with --left-out")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found: dict[str, list[float]] = {}
    seconds: list[float] = []
    for scope, tried in _left_out(arguments.seed) if arguments.left_out else _shipped():
        scope.probability(_said("Hello"))  # loads what reads
        for kind, chats in tried.items():
            for chat in chats:
                started = time.perf_counter()
                found.setdefault(kind, []).append(scope.probability(chat))
                seconds.append(time.perf_counter() - started)
    print("| messages | number | p ≥ 0.5 | p ≥ 0.7 | p ≥ 0.9 |\n| --- | --- | --- | --- | --- |")
    for kind, all_p in found.items():
        shares = [percent(sum(p >= least for p in all_p) / len(all_p)) for least in (0.5, 0.7, 0.9)]
        print(f"| {kind} | {len(all_p)} | {' | '.join(shares)} |")
    print(f"\n{1000 * sorted(seconds)[len(seconds) // 2]:.1f} ms each (median)")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"p": found, "machine": machine()}, indent=1), "utf-8")


def _shipped() -> list[tuple[Scope, Tried]]:
    tried = _people(["chidi", "dara"])
    tried["everyday prompts"] = [_said(one.prompt) for one in everyday_prompts()]
    tried["everyday prompts, below a text"] = [
        _said(_below_a_text(number, one.prompt)) for number, one in enumerate(everyday_prompts())
    ]
    tried["neutral texts"] = [_said(text) for text in neutral_texts()]
    return [(Scope(), tried)]


def _left_out(seed: int) -> list[tuple[Scope, Tried]]:
    """Two halves of everything: each is tried with a readout fitted on the other."""
    halves, reader = [], Reader()
    asked, others = shipped_messages()
    for messages in (asked, others):
        random.Random(0).shuffle(messages)
    for number, person in enumerate(("ana", "bo")):
        pairs = [pair for pair in shipped_pairs() if pair.of != person]
        shown = examples(pairs, asked[1 - number :: 2], others[1 - number :: 2])
        tried = _people([person])
        tried["asks (asked.txt)"] = [_said(text) for text in asked[number::2]]
        tried["others (others.txt, everyday.txt)"] = [_said(text) for text in others[number::2]]
        theirs = [pair for pair in shipped_pairs() if pair.of == person]
        for one in examples(theirs, asked[number::2], others[number::2], seed=1):
            if one.kind in PUT_TOGETHER:
                tried[one.kind].append(one.chat)
        halves.append((Scope(reader, fitted(reader, shown, seed=seed)), tried))
    return halves


def _people(people: list[str]) -> Tried:
    """What they ask about themselves, and what they say in their chats."""
    tried: Tried = defaultdict(list)
    for exam in read_exams([CHATS / f"{person}.jsonl" for person in people]):
        for question in exam.questions:
            tried[f"qa_test, {question.kind}"].append(_said(question.question))
        for session in exam.sessions:
            chat: list[Message] = []
            for turn in session.turns:
                chat.append({"role": turn.role, "content": turn.content})
                if turn.role == "user":
                    tried["what people say in chats"].append(list(chat))
        # After one of their chats, in a classic chain's prompt, before thanks, below a text.
        for number, question in enumerate(exam.questions[::4]):
            tried["qa_test, later in a chat"].append([*chat, *_said(question.question)])
            lines = [f"{_SPEAKERS[m['role']]}: {m['content']}" for m in chat]
            prompt = "\n".join([*lines, f"Human: {question.question}", "AI:"])
            tried["qa_test, in a chain's prompt"].append(_said(prompt))
            tried["qa_test, then thanks"].append(_said(f"{question.question} Thanks a lot!"))
            tried["qa_test, below a text"].append(_said(_below_a_text(number, question.question)))
    return tried


def _below_a_text(number: int, message: str) -> str:
    length = TEXT_LENGTHS[number % len(TEXT_LENGTHS)]
    return f"{' '.join(neutral_texts())[:length]}\n\n{message}"


def _said(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


if __name__ == "__main__":
    main()
