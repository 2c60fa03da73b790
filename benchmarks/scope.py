"""Which messages are taken as asking for what the user told.

    python benchmarks/scope.py
    python benchmarks/scope.py --left-out

The questions of `qa_test` should be most of them; of everyday prompts, neutral texts and what
people say in the example chats few. chidi and dara are tried, with the readout that comes with the
package. With --left-out it is ana and bo, with one that was fitted without them, and the half of
the messages in `plum_langchain/scope` that it wasn't fitted with.
"""

import argparse
import json
import random
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from common import CHATS

from plum_langchain import ServingSettings
from plum_langchain.adapters import AdapterStore
from plum_langchain.evaluation import machine, read_exams
from plum_langchain.evaluation.everyday import everyday_prompts, neutral_texts
from plum_langchain.evaluation.report import percent
from plum_langchain.learning.template import Message
from plum_langchain.models import Engine, resolve_model
from plum_langchain.scope import Scope
from plum_langchain.scope.examples import examples, shipped_messages
from plum_langchain.scope.scope import fitted
from plum_langchain.verdicts.pairs import shipped_pairs

_SPEAKERS = {"user": "Human", "assistant": "AI"}

Tried = dict[str, list[list[Message]]]


def main() -> None:
    """Try, and print the share of each kind that is taken so."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--left-out", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    resolved = resolve_model(arguments.model)
    with tempfile.TemporaryDirectory() as directory:
        store = AdapterStore(Path(directory))
        engine = Engine(lambda: resolved, store, ServingSettings(device="cpu"))
        found: dict[str, list[float]] = {}
        seconds: list[float] = []
        for scope, tried in _left_out(engine) if arguments.left_out else _shipped(engine):
            for kind, chats in tried.items():
                for chat in chats:
                    started = time.perf_counter()
                    found.setdefault(kind, []).append(scope.probability(chat))
                    seconds.append(time.perf_counter() - started)
    print("| messages | number | p ≥ 0.5 | p ≥ 0.7 | p ≥ 0.9 |\n| --- | --- | --- | --- | --- |")
    for kind, all_p in found.items():
        shares = [percent(sum(p >= least for p in all_p) / len(all_p)) for least in (0.5, 0.7, 0.9)]
        print(f"| {kind} | {len(all_p)} | {' | '.join(shares)} |")
    print(f"\n{1000 * sorted(seconds)[len(seconds) // 2]:.0f} ms each (median)")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"p": found, "machine": machine()}, indent=1), "utf-8")


def _shipped(engine: Engine) -> list[tuple[Scope, Tried]]:
    tried = _people(["chidi", "dara"])
    tried["everyday prompts"] = [_said(one.prompt) for one in everyday_prompts()]
    tried["neutral texts"] = [_said(text) for text in neutral_texts()]
    return [(Scope(engine), tried)]


def _left_out(engine: Engine) -> list[tuple[Scope, Tried]]:
    """Two halves of everything: each is tried with a readout fitted on the other."""
    halves = []
    asked, others = shipped_messages()
    for messages in (asked, others):
        random.Random(0).shuffle(messages)
    for number, person in enumerate(("ana", "bo")):
        pairs = [pair for pair in shipped_pairs() if pair.of != person]
        shown = examples(pairs, asked[1 - number :: 2], others[1 - number :: 2])
        tried = _people([person])
        tried["asks (asked.txt)"] = [_said(text) for text in asked[number::2]]
        tried["others (others.txt, everyday.txt)"] = [_said(text) for text in others[number::2]]
        halves.append((Scope(engine, fitted(engine, shown)), tried))
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
        # After one of their chats, and in a classic chain's prompt with it.
        for question in exam.questions[::4]:
            tried["qa_test, later in a chat"].append([*chat, *_said(question.question)])
            lines = [f"{_SPEAKERS[m['role']]}: {m['content']}" for m in chat]
            prompt = "\n".join([*lines, f"Human: {question.question}", "AI:"])
            tried["qa_test, in a chain's prompt"].append(_said(prompt))
    return tried


def _said(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


if __name__ == "__main__":
    main()
