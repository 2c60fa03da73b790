"""What a chat waits for while questions are written in the same process, by prompts a batch.

    python benchmarks/writing.py

The questions of a session's sentences are written and judged in a thread; meanwhile a chat asks for
a first token, half a second after the last one came.
"""

import argparse
import json
import statistics
import threading
import time
from pathlib import Path

from common import CHATS

from plum_langchain import ServingSettings
from plum_langchain.adapters import AdapterStore
from plum_langchain.evaluation import machine
from plum_langchain.importers import read_sessions
from plum_langchain.models import Engine, Sampling, resolve_model
from plum_langchain.models import engine as module
from plum_langchain.questions import StatementQuestions
from plum_langchain.questions.maker import Wish
from plum_langchain.verdicts import Judge
from plum_langchain.writer import Writer


def main() -> None:
    """Write with each number of prompts, and print a row for it."""
    arguments = _arguments()
    resolved = resolve_model(arguments.model)
    serving = ServingSettings(device="cpu")
    engine = Engine(lambda: resolved, AdapterStore(Path("no-adapters")), serving)
    writer = Writer(engine, Judge(engine))
    writer.prepare()
    session, _ = next(iter(read_sessions(CHATS / "ana.jsonl")))
    told = dict.fromkeys(q.statement for q in StatementQuestions().make(session) if q.statement)
    wishes = [Wish(text, wanted) for text in told for wanted in ("yes", "no", "open")]
    print(f"machine: {json.dumps(machine())}")
    _first_token(engine)
    alone = statistics.median(_first_token(engine) for _ in range(10))
    print(f"{len(wishes)} wishes; a first token alone: {1000 * alone:.0f} ms\n")
    print("| prompts at once | alone, s | beside a chat, s | first token, median | longest |")
    print("|" + " --- |" * 5)
    for prompts in arguments.prompts:
        module._PROMPTS = prompts
        started = time.perf_counter()
        writer.write(wishes, seed=0)
        quiet = time.perf_counter() - started
        thread = threading.Thread(target=writer.write, args=[wishes], kwargs={"seed": 0})
        started = time.perf_counter()
        thread.start()
        waited = []
        while thread.is_alive():
            time.sleep(0.5)
            waited.append(_first_token(engine))
        beside = time.perf_counter() - started
        print(
            f"| {prompts} | {quiet:.0f} | {beside:.0f} | {statistics.median(waited):.2f} s "
            f"| {max(waited):.2f} s |",
            flush=True,
        )


def _first_token(engine: Engine) -> float:
    started = time.perf_counter()
    engine.chat([{"role": "user", "content": "Hello"}], None, Sampling(max_new_tokens=1))
    return time.perf_counter() - started


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--prompts", nargs="+", type=int, default=[16, 8, 4, 2])
    return parser.parse_args()


if __name__ == "__main__":
    main()
