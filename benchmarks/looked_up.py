"""What an index of the same facts would answer: how much is the memory's, how much the judge's.

    python benchmarks/recall.py --people chidi dara --sessions 10 --home HOME
    python benchmarks/looked_up.py --people chidi dara --home HOME

A parametric memory's answers are made of two things: the fact that the adapter brings back, and the
judge's verdict on it, which no other arm of `recall.py` has. Here the facts that each person's last
adapter was taught are looked up instead: the five nearest the question by the encoder that
retrieval uses, of which the judge takes the one that fits best, or the nearest alone. Nothing is
generated. What is asked is what `recall.py` asks after ten sessions. ana and bo are among those
whom the judge was taught with, so ask about others.
"""

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from common import CHATS, summary_table

from plum_langchain import Plum
from plum_langchain.evaluation import machine, read_exams
from plum_langchain.evaluation.exam import ExamQuestion
from plum_langchain.evaluation.metrics import Graded, grade
from plum_langchain.memories.answer import Answer
from plum_langchain.memories.recital import RECITALS
from plum_langchain.memories.told import Told
from plum_langchain.models import Likely
from plum_langchain.verdicts import Judge, candidates, verdict


def main() -> None:
    """Ask and print."""
    arguments = _arguments()
    exams = read_exams([CHATS / f"{person}.jsonl" for person in arguments.people])
    answers: dict[str, list[Graded]] = defaultdict(list)
    plum = Plum(arguments.home)
    judge = Judge(plum.engine)
    for exam in exams:
        adapter = plum.recalled(plum.memory_named("parametric"), exam.user_id, "").adapter
        if adapter is None:
            raise SystemExit(
                f"{arguments.home} has no adapter of {exam.user_id!r}; make it with recall.py "
                "--home, and name the people it has with --people"
            )
        facts = Told(plum.journal, exam.user_id, adapter.generation).facts
        if not facts:
            raise SystemExit(
                f"{arguments.home} keeps nothing of what {exam.user_id!r}'s adapter was taught, so "
                "there is nothing to look up; learn with HomeSettings(retention='transcript')"
            )
        for one in exam.questions:
            for name, number in (("the nearest", 1), (f"the best of {RECITALS} near", RECITALS)):
                near = plum._retrieval.nearest_of(exam.user_id, facts, one.question, number)
                answers[name].append(grade(exam.user_id, one, _from(near, judge, one)))
        print(f"{exam.user_id}: {len(exam.questions)} questions", file=sys.stderr, flush=True)
    plum.close()
    print(f"machine: {json.dumps(machine())}")
    print(summary_table(answers))
    if arguments.json is not None:
        found = {arm: [asdict(one) for one in graded] for arm, graded in answers.items()}
        arguments.json.write_text(json.dumps(found, indent=1), "utf-8")


def _from(facts: Sequence[str], judge: Judge, asked: ExamQuestion) -> Answer:
    """An answer as the parametric memory's, but that all these facts are as likely."""
    started = time.perf_counter()
    fact = candidates(judge, [Likely(one, 0.0) for one in facts], asked.question)[0].text
    yes = verdict(judge, fact, asked.question) if asked.closed else None
    text = fact if yes is None else "Yes" if yes > 0.5 else "No"
    return Answer(
        text=text,
        yes=yes,
        prompt_tokens=0,
        seconds=time.perf_counter() - started,
        memory="looked up",
        generation=None,
        sources=(fact,),
        recited=fact if asked.closed else None,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, required=True, help="that recall.py --home made")
    parser.add_argument("--people", nargs="+", default=["chidi", "dara"])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if not (arguments.home / "journal.db").exists():
        parser.error(f"--home {arguments.home}: nothing was learned there; see recall.py --home")
    return arguments


if __name__ == "__main__":
    main()
