"""Recalled by the adapter, looked up in an index of the same facts, or both at once.

    python benchmarks/recall.py --people chidi dara --sessions 10 --home HOME
    python benchmarks/looked_up.py --people chidi dara --home HOME

A parametric memory's answers are made of two things: the fact that the adapter brings back, and the
judge's verdict on it, which no other arm of `recall.py` has. Here the facts that each person's last
adapter was taught are also looked up: those nearest the question by the encoder that retrieval
uses. What each finds is judged in the same way; of both at once, as hybrid answers, with the
adapter's log-probability in full, in part and not at all. What is asked is what `recall.py` asks.
ana and bo are among those whom the judge was taught with, so ask about others, or with --held-out.
With --recorded the recorded questions that weren't learned there are asked as well: all of them, of
a home that learned from the chats' text alone.
"""

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from common import CHATS, changed, hold_out, parse_with_home, summary_tables, taught

from plum_langchain import Plum, QuestionSettings
from plum_langchain.adapters import AdapterRef
from plum_langchain.evaluation import machine, read_exams
from plum_langchain.evaluation.exam import Exam, ExamQuestion
from plum_langchain.evaluation.metrics import Graded, grade
from plum_langchain.memories.answer import ANSWER_TOKENS, Answer
from plum_langchain.memories.recital import RECITALS, brought_back
from plum_langchain.memories.told import Told
from plum_langchain.models import Likely
from plum_langchain.questions import question_maker
from plum_langchain.questions.corrections import corrected
from plum_langchain.questions.recorded import recorded_updates
from plum_langchain.questions.text import normalised
from plum_langchain.session import UNKNOWN_ANSWER, Question
from plum_langchain.verdicts import Judge, candidates, verdict

TRUST = (1.0, 0.5, 0.25, 0.0)
"""How much the adapter's log-probability counts, where facts are looked up as well."""


def main() -> None:
    """Ask and print."""
    arguments = _arguments()
    paths = [CHATS / f"{person}.jsonl" for person in arguments.people]
    exams = read_exams(paths, max_sessions=arguments.sessions)
    answers: dict[str, list[Graded]] = defaultdict(list)
    plum = Plum(arguments.home)
    if arguments.held_out:
        hold_out(plum, arguments.people)
    for exam in exams:
        adapter, told = taught(plum, exam.user_id)
        asked = [*exam.questions]
        if arguments.recorded:
            taught_before = plum.journal.generations.replay_questions(exam.user_id).values()
            learned = {normalised(one.question) for own in taught_before for one in own}
            more = _recorded(exam, arguments.recorded)
            asked += [one for one in more if normalised(one.question) not in learned]
        if arguments.corrections:
            asked += changed(exam.user_id)
        for one in asked:
            for arm, found in _answers(plum, exam.user_id, adapter, told, one).items():
                answers[arm].append(grade(exam.user_id, one, found))
        print(f"{exam.user_id}: {len(asked)} questions", file=sys.stderr, flush=True)
    plum.close()
    print(f"machine: {json.dumps(machine())}")
    print(summary_tables(answers))
    if arguments.json is not None:
        written = {arm: [asdict(one) for one in graded] for arm, graded in answers.items()}
        arguments.json.write_text(json.dumps(written, indent=1), "utf-8")


def _recorded(exam: Exam, number: int) -> list[ExamQuestion]:
    """So many recorded questions of each session, whose answer no later session changes."""
    maker = question_maker("recorded", QuestionSettings(max_questions=number))
    found: list[tuple[str, Question]] = []
    for session in exam.sessions:
        own = maker.make(session)
        again = corrected(recorded_updates(session), own, [one for _, one in found])
        untrue = {one.question for one in again if one.again}
        found = [(key, one) for key, one in found if one.question not in untrue]
        found += [(session.session_id, one) for one in own if one.answer != UNKNOWN_ANSWER]
    return [ExamQuestion(key, q.question, q.answer, q.kind, "recorded") for key, q in found]


def _answers(
    plum: Plum, user_id: str, adapter: AdapterRef, told: Told, asked: ExamQuestion
) -> dict[str, Answer]:
    """What each way answers; an index alone holds all that it finds as likely."""
    near = plum._retrieval.nearest_of(user_id, lambda: told.facts, asked.question, RECITALS)
    ways = {
        "the nearest": _Way([Likely(near[0], 0.0)]),
        f"the best of {RECITALS} near": _Way([Likely(one, 0.0) for one in near]),
    }
    none: list[str] = []
    for name, looked_up in (("recalled", none), ("both", near)):
        started = time.perf_counter()
        likely, prompt_tokens = brought_back(
            plum.engine,
            adapter,
            asked.question,
            system_prompt=plum.learning.system_prompt,
            told=told,
            looked_up=looked_up,
            max_new_tokens=ANSWER_TOKENS,
        )
        for trust in TRUST if looked_up else (1.0,):
            ways[f"{name}, trust {trust:g}" if looked_up else name] = _Way(
                likely, trust, prompt_tokens, time.perf_counter() - started
            )
    return {name: _judged(plum._judge, way, asked) for name, way in ways.items()}


@dataclass(frozen=True)
class _Way:
    """What one way found, and what finding it took."""

    likely: Sequence[Likely]
    trust: float = 1.0
    prompt_tokens: int = 0
    seconds: float = 0.0


def _judged(judge: Judge, way: _Way, asked: ExamQuestion) -> Answer:
    started = time.perf_counter()
    fact = candidates(judge, way.likely, asked.question, trust=way.trust)[0].text
    yes = verdict(judge, fact, asked.question) if asked.closed else None
    text = fact if yes is None else "Yes" if yes > 0.5 else "No"
    return Answer(
        text=text,
        yes=yes,
        prompt_tokens=way.prompt_tokens,
        seconds=way.seconds + time.perf_counter() - started,
        memory="looked up",
        generation=None,
        sources=(fact,),
        recited=fact if asked.closed else None,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=10, help="of each person")
    parser.add_argument(
        "--held-out", action="store_true", help="teach the judge anew, without these people"
    )
    parser.add_argument(
        "--recorded", type=int, default=0, metavar="N",
        help="ask up to so many recorded questions of each session as well, unless learned",
    )  # fmt: skip
    parser.add_argument(
        "--corrections", action="store_true", help="ask for what later sessions changed as well"
    )
    parser.add_argument("--json", type=Path)
    arguments = parse_with_home(parser)
    if arguments.corrections and arguments.sessions < 10:
        parser.error("--corrections asks for what any session changed; it needs --sessions 10")
    return arguments


if __name__ == "__main__":
    main()
