"""What comes back of a session's facts, apart from the verdict on it; for tuning.

    python benchmarks/recitals.py
    python benchmarks/recitals.py rewordings=0 everyday_per_batch=0
    python benchmarks/recitals.py --sessions 3 --chain --hold-out

The first two sessions of each person are learned one by one, each from the base model on, with 100
of their recorded questions; then the rest of the recorded questions and `qa_test` are asked. With
--hold-out one question of each kind of each fact is the rest, and all others are learned. With
--chain each goes on from the one before and replays it, and all are asked about after the last;
with --matrix after each, which shows how much of a session is left when others have been learned.
With --start everybody begins with that adapter instead of an empty one. With --reversed what is
asked as well is who or what a fact's value belongs to ("Who lives in Tampere?", `reversed.jsonl`);
with --learn-reversed another such question about each fact is learned: beside the others, or among
them, balanced with them as those of an LLM are.
Printed is how often exactly the fact behind a question came back (of those where it is known), the
verdicts, and whether the model is still the one it was (`evaluation/everyday.py`; on each person's
second session). ana and bo are among those whom the package's judge was taught with, so each is
judged by one that was taught with all others, which takes five minutes a person.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from common import CHATS, named, shelve
from consolidation import copied, left_out

from plum_langchain import LearningSettings, QuestionSettings, ServingSettings
from plum_langchain.adapters import AdapterStore
from plum_langchain.consolidation.everyday import everyday_samples
from plum_langchain.consolidation.prepare import choose_replay
from plum_langchain.evaluation import machine, read_exams
from plum_langchain.evaluation.everyday import LONGEST_REPLY, measure_everyday
from plum_langchain.evaluation.exam import Exam, ExamQuestion
from plum_langchain.evaluation.metrics import Graded, grade, summarise
from plum_langchain.evaluation.report import percent
from plum_langchain.learning import encoder_for, learn
from plum_langchain.memories.answer import answer
from plum_langchain.memories.base import Recalled
from plum_langchain.models import Engine, Sampling, load_model, resolve_model
from plum_langchain.questions import question_maker
from plum_langchain.session import UNKNOWN_ANSWER, Question, Session
from plum_langchain.verdicts import Judge
from plum_langchain.verdicts.pairs import shipped_pairs

REVERSED = Path(__file__).parent / "reversed.jsonl"


def main() -> None:
    """Learn, ask and print."""
    arguments = _arguments()
    settings = LearningSettings(**{"gate": None, **named(arguments.settings)})
    resolved = resolve_model(arguments.model)
    base = load_model(resolved, device="cpu", dtype=settings.dtype)
    encoder = encoder_for(base.tokenizer, settings)
    everyday = everyday_samples(base, encoder, weight=settings.everyday_weight)
    exams = read_exams([CHATS / f"{person}.jsonl" for person in arguments.people])
    records: list[dict[str, Any]] = []
    matrix: dict[tuple[int, int], list[bool]] = defaultdict(list)  # (learned last, asked about)
    with tempfile.TemporaryDirectory() as directory:
        store = AdapterStore(Path(directory) / "adapters")
        engine = Engine(lambda: resolved, store, ServingSettings(device="cpu"))
        for exam in exams:
            others = [pair for pair in shipped_pairs() if pair.of != exam.user_id]
            judge = Judge(engine, others if len(others) < len(shipped_pairs()) else None)
            parent: Path | None = arguments.start
            before: dict[int, list[Question]] = {}
            asked: dict[int, list[ExamQuestion]] = {}
            for number in range(arguments.sessions):
                chosen, unseen = _questions(exam, number, arguments)
                asked[number] = unseen
                place = Path(directory) / f"{exam.user_id}-{number}"
                place.mkdir()
                started = time.perf_counter()
                learn(
                    base.model, base.tokenizer, chosen, place,
                    settings=replace(settings, seed=number), everyday=everyday, parent=parent,
                    replay=choose_replay(before, chosen, encoder, seed=number),
                )  # fmt: skip
                seconds = time.perf_counter() - started
                last = number == arguments.sessions - 1
                about = [number]
                told = [q.statement for q in chosen if q.statement]
                if arguments.chain:
                    parent, before[number] = place, chosen
                    about = list(before) if last or arguments.matrix else []
                    told = [q.statement for own in before.values() for q in own if q.statement]
                recalled = Recalled(
                    adapter=shelve(store, resolved, place.name, settings, copied(place))
                )
                found: dict[str, Any] = {"answers": [], "recited": []}
                for session in about:
                    more = _asked(engine, judge, exam, session, asked[session], recalled, settings)
                    matrix[number, session] += [c for c in more["recited"] if c is not None]
                    if last or not arguments.chain:
                        found = {key: found[key] + more[key] for key in found}
                if last:
                    found |= _still_itself(engine, recalled, settings, told)
                records.append({"user": exam.user_id, "seconds": seconds, **found})
                print(f"{place.name}: {seconds:.0f} s", file=sys.stderr, flush=True)
    print(_table(records))
    if arguments.matrix:
        print(_retention(matrix))
    if arguments.json is not None:
        report = {"records": records, "settings": asdict(settings), "machine": machine()}
        arguments.json.write_text(json.dumps(report, indent=1), "utf-8")


def _questions(
    exam: Exam, number: int, arguments: argparse.Namespace
) -> tuple[list[Question], list[ExamQuestion]]:
    """What is learned of a session, and what of the same facts is asked."""
    session = exam.sessions[number]
    whole = question_maker("recorded", QuestionSettings(max_questions=None)).make(session)
    if arguments.hold_out:
        held = _one_of_each_kind(whole, session.session_id)
        learned = [question for question in whole if question not in held]
    else:
        learned = question_maker("recorded", QuestionSettings(max_questions=100)).make(session)
    unseen = left_out(whole, learned, session)
    about = session.session_id
    if arguments.learn_reversed == "beside":
        learned += [
            Question(one["learn"], one["answer"], "open", statement=one["statement"])
            for one in _reversed(about)
        ]
    elif arguments.learn_reversed == "among":
        recorded = _with_reversed(session, without={question.question for question in unseen})
        most = QuestionSettings(max_questions=None if arguments.hold_out else 100)
        learned = question_maker("recorded", most).make(recorded)
    if arguments.reversed:
        known = {question.statement for question in whole}
        if unknown := [one for one in _reversed(about) if one["statement"] not in known]:
            raise SystemExit(
                f"{REVERSED} asks about {unknown[0]['statement']!r}, which is no recorded fact of "
                f"{about}: write the statement there as the chat file has it"
            )
        unseen += [
            ExamQuestion(about, one["ask"], one["answer"], "open", category="reversed")
            for one in _reversed(about)
        ]
    return learned, unseen


def _reversed(session_id: str) -> list[dict[str, str]]:
    """Of each fact of a session: who or what its value belongs to, asked in two wordings."""
    lines = [json.loads(line) for line in REVERSED.read_text("utf-8").splitlines()]
    return [line for line in lines if line["session"] == session_id]


def _with_reversed(session: Session, *, without: set[str]) -> Session:
    """The session as if a reversed question of each fact had been recorded, and others hadn't."""
    material = deepcopy(dict(session.material))
    turned = {one["statement"]: one for one in _reversed(session.session_id)}
    for fact in material["facts"]:
        for kind in ("true", "false"):
            fact[kind] = [question for question in fact[kind] if question not in without]
        fact["open"] = [one for one in fact["open"] if one["question"] not in without]
        more = turned[fact["statement"]]
        fact["open"].append({"question": more["learn"], "answer": more["answer"]})
    material["qa_train"] = [one for one in material["qa_train"] if one["question"] not in without]
    return replace(session, material=material)


def _one_of_each_kind(questions: Sequence[Question], seed: str) -> list[Question]:
    """Of every fact a yes, a same-slot and an open question, if another is left to learn."""
    rng = random.Random(seed)
    alike: dict[tuple[str, str], list[Question]] = {}
    for question in questions:
        if question.statement and question.recital == question.statement:
            alike.setdefault((question.statement, question.kind), []).append(question)
    return [rng.choice(group) for group in alike.values() if len(group) > 1]


def _asked(
    engine: Engine,
    judge: Judge,
    exam: Exam,
    number: int,
    unseen: Sequence[ExamQuestion],
    recalled: Recalled,
    settings: LearningSettings,
) -> dict[str, Any]:
    """Each answer, and whether the fact that was wanted came back (None if it isn't known)."""
    session = exam.sessions[number]
    whole = question_maker("recorded", QuestionSettings(max_questions=None)).make(session)
    wanted = {question.question: question.recital for question in whole}
    wanted |= {one["ask"]: one["statement"] for one in _reversed(session.session_id)}
    questions = [*exam.about([session.session_id]), *unseen]
    graded, recited = [], []
    for question in questions:
        given = answer(
            engine, judge, recalled, question.question, memory="parametric",
            system_prompt=settings.system_prompt, closed=question.closed,
            started=time.perf_counter(),
        )  # fmt: skip
        graded.append(grade(exam.user_id, question, given))
        expected = wanted.get(question.question)
        came = given.recited or given.text
        recited.append(None if expected in (None, UNKNOWN_ANSWER) else came == expected)
    return {"answers": [asdict(one) for one in graded], "recited": recited}


def _still_itself(
    engine: Engine, recalled: Recalled, settings: LearningSettings, told: list[str]
) -> dict[str, Any]:
    """The loss of neutral text, and of everyday replies how many suit and leak."""
    sampling = Sampling(max_new_tokens=LONGEST_REPLY)
    system = [{"role": "system", "content": settings.system_prompt or ""}]

    def say(prompt: str) -> str:
        chat = [*system, {"role": "user", "content": prompt}]
        return engine.chat(chat, recalled.adapter, sampling).text

    found = measure_everyday(say, lambda text: engine.loss(text, recalled.adapter), told)
    return {"neutral": found.loss, "suits": found.suits, "leaks": found.leaks}


def _table(records: list[dict[str, Any]]) -> str:
    graded = [Graded(**one) for record in records for one in record["answers"]]
    turned = [one.correct for one in graded if one.category == "reversed"]
    summary = summarise([one for one in graded if one.category != "reversed"])
    low, high = summary.ci95 or (None, None)
    came = [one for record in records for one in record["recited"]]

    def recited(kind: str, category: str = "") -> str:
        pairs = zip(graded, came, strict=True)
        known = [c for g, c in pairs if (g.kind, g.category) == (kind, category) and c is not None]
        return f"{percent(sum(known) / len(known))} of {len(known)}"

    last = [record for record in records if "neutral" in record]
    cells = {
        "s a session": f"{statistics.mean(record['seconds'] for record in records):.0f}",
        "the fact recited: yes": recited("yes"),
        "same slot": recited("no_same_slot"),
        "open": recited("open"),
        "balanced": f"{percent(summary.balanced_accuracy)} ({percent(low)}-{percent(high)})",
        "yes": percent(summary.yes),
        "no, adjacent": percent(summary.no_adjacent),
        "no, same slot": percent(summary.no_same_slot),
        "open answers": percent(summary.open),
        "everyday replies that suit": percent(statistics.mean(r["suits"] for r in last)),
        "that leak": str(sum(record["leaks"] for record in last)),
        "loss of neutral text": f"{statistics.mean(r['neutral'] for r in last):.3f}",
    }
    if turned:
        cells |= {
            "reversed: the fact": recited("open", "reversed"),
            "reversed answers": percent(sum(turned) / len(turned)),
        }
    return "\n".join(
        "| " + " | ".join(row) + " |" for row in (cells, ["---"] * len(cells), cells.values())
    )


def _retention(matrix: Mapping[tuple[int, int], Sequence[bool]]) -> str:
    """How often the fact came back, by what was learned last (rows) and what was asked about."""
    numbers = sorted({number for number, _ in matrix})
    rows = [["facts of session", *(str(number + 1) for number in numbers)]]
    rows.append(["---"] * len(rows[0]))
    for last in numbers:
        shares = [matrix[last, about] for about in numbers if about <= last]
        cells = [f"{percent(sum(c) / len(c))} of {len(c)}" if c else "" for c in shares]
        rows.append([f"after session {last + 1}", *cells, *[""] * (len(numbers) - len(cells))])
    return "\n" + "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("settings", nargs="*", metavar="NAME=VALUE", help="LearningSettings")
    parser.add_argument("--people", nargs="+", default=["ana", "bo"])
    parser.add_argument("--sessions", type=int, default=2, help="of each person")
    parser.add_argument("--chain", action="store_true", help="one after another")
    parser.add_argument("--matrix", action="store_true", help="with --chain: ask after each")
    parser.add_argument("--start", type=Path, help="an adapter that each person begins with")
    parser.add_argument("--hold-out", action="store_true", help="learn all but one of each kind")
    parser.add_argument("--reversed", action="store_true", help="ask what values belong to as well")
    parser.add_argument(
        "--learn-reversed", choices=["beside", "among"], help="learn what values belong to as well"
    )
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if (arguments.reversed or arguments.learn_reversed) and not (
        arguments.sessions <= 4 and {*arguments.people} <= {"ana", "bo"}
    ):
        parser.error(f"{REVERSED} asks about the first four sessions of ana and bo alone")
    if arguments.matrix and not arguments.chain:
        parser.error("--matrix shows sessions learned one after another; give --chain as well")
    return arguments


if __name__ == "__main__":
    main()
