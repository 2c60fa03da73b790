"""What a search among all that an adapter was taught finds of what is really likeliest.

    python benchmarks/recall.py --people chidi dara --sessions 10 --questions written --home HOME
    python benchmarks/searched.py --people chidi dara --home HOME

Five facts come back for a question (`Engine.likely`). Whether those are the five that the adapter
holds likeliest is told by reading all of them, which takes long. Asked are recorded questions that
come with the chats (`qa_train`, never `qa_test`): a home that learned by default never saw them.
Prints one Markdown row for each person.
"""

import argparse
import json
import math
import random
import statistics
import time

from common import CHATS, parse_with_home, taught

from plum_langchain import Plum
from plum_langchain.evaluation import machine
from plum_langchain.evaluation.report import markdown_row, percent
from plum_langchain.memories.answer import ANSWER_TOKENS
from plum_langchain.memories.recital import RECITALS, as_messages
from plum_langchain.models import Likely

HEADER = ["person", "recitals", "questions", "the likeliest is found", "of the five likeliest",
          "probability of what is found, of all", "s", "s, all read"]  # fmt: skip


def main() -> None:
    """Search, read all, and print how far they agree."""
    arguments = _arguments()
    print(f"machine: {json.dumps(machine())}")
    print(markdown_row(HEADER) + "\n" + markdown_row(["---"] * len(HEADER)))
    plum = Plum(arguments.home)
    for person in arguments.people:
        print(markdown_row(_row(plum, person, arguments.questions)), flush=True)
    plum.close()


def _row(plum: Plum, person: str, number: int) -> list[str]:
    adapter, told = taught(plum, person)
    recitals = told.recitals
    assert recitals, "a generation with facts has recitals"
    asked = random.Random(0).sample(_recorded(person), number)
    first, shared, mass, seconds = [], [], [], []
    for question in asked:
        chat = as_messages(plum.learning.system_prompt, (), question)
        began = time.perf_counter()
        found, _ = plum.engine.likely(chat, adapter, RECITALS, ANSWER_TOKENS, among=recitals)
        between = time.perf_counter()
        all_ = plum.engine.likelihoods(chat, adapter, recitals)[:RECITALS]
        seconds.append((between - began, time.perf_counter() - between))
        first.append(found[0].text == all_[0].text)
        shared.append(len({one.text for one in found} & {one.text for one in all_}))
        mass.append(_probability(found) / _probability(all_))
    searched, read = (statistics.median(of) for of in zip(*seconds, strict=True))
    return [
        person,
        str(len(recitals)),
        str(len(asked)),
        percent(statistics.mean(first)),
        f"{statistics.mean(shared):.2f}",
        percent(statistics.mean(mass)),
        f"{searched:.2f}",
        f"{read:.2f}",
    ]


def _probability(found: list[Likely]) -> float:
    return sum(math.exp(one.log_probability) for one in found)


def _recorded(person: str) -> list[str]:
    lines = (CHATS / f"{person}.jsonl").read_text("utf-8").splitlines()
    return [one["question"] for line in lines for one in json.loads(line)["qa_train"]]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, default=40, help="of each person")
    return parse_with_home(parser)


if __name__ == "__main__":
    main()
