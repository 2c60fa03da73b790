"""How well the judge tells Yes from No when it is shown the right statement.

    python benchmarks/verdicts.py

Every recorded fact of the example chats has three questions answered Yes by it and three answered
No. The judge that comes with the package was taught with eight made-up people, ana and bo among
them, and is tried on chidi and dara; for ana and for bo another one is taught with the other seven
(what its settings were chosen by). The model asked in words is beside it. Then how often a question
is taken to be about its own fact, and about another of the same person. Then the same questions
beside the sentence of the chat that says the fact, as it is told back. Then facts that changed
(`changes.jsonl`, sixty of two made-up people; no judge was taught with them), told as an adapter
is taught to tell them: by kind of question, the judge's verdict on all of it, and the verdict that
sets what is true now against what was (`verdicts/recited.py`).
"""

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path

from common import CHATS

from plum_langchain import ServingSettings
from plum_langchain.adapters import AdapterStore
from plum_langchain.evaluation import machine
from plum_langchain.importers import read_sessions
from plum_langchain.models import Engine, resolve_model
from plum_langchain.questions import StatementQuestions
from plum_langchain.questions.text import content_words
from plum_langchain.session import EARLIER
from plum_langchain.verdicts import Judge, verdict
from plum_langchain.verdicts.pairs import Pair, mistaken, pairs_of, shipped_pairs

KINDS_OF_CHANGE = {
    "true": "what is true now: Yes",
    "gone": "what was, as if it were so today: No",
    "first": "what was, as of earlier days: Yes",
    "kept": "what was told with it and did not change: Yes",
}


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    resolved = resolve_model(arguments.model)
    serving = ServingSettings(device="cpu", dtype=arguments.dtype)
    engine = Engine(lambda: resolved, AdapterStore(Path("no-adapters")), serving)
    shipped = shipped_pairs()
    print(f"machine: {json.dumps(machine())}")
    print("| taught with | tried on | questions | judged by | right | of Yes | of No |")
    print("|" + " --- |" * 7)
    if arguments.left_out:
        for person in ("ana", "bo"):
            others = [pair for pair in shipped if pair.of != person]
            _tried(f"all but {person}", Judge(engine, others), (person,))
    _tried("all", Judge(engine), ("chidi", "dara"))
    if arguments.asked:
        _asked_in_words(engine, ("chidi", "dara"), arguments.asked)
    _fitting(Judge(engine), ("chidi", "dara"))
    _told_back(Judge(engine), ("chidi", "dara"))
    _changes(Judge(engine))


def recorded_pairs(*people: str) -> list[Pair]:
    """The pairs of example chats."""
    return [
        pair
        for person in people
        for line in (CHATS / f"{person}.jsonl").read_text("utf-8").splitlines()
        for fact in json.loads(line)["facts"]
        for pair in pairs_of(json.dumps({"of": person, "near": [], **fact}))
    ]


def _tried(taught: str, by: Judge, people: Sequence[str]) -> None:
    pairs = recorded_pairs(*people)
    found = by.probabilities([(pair.statement, pair.question) for pair in pairs])
    shares = _shares([p > 0.5 for p in found], [bool(pair.yes) for pair in pairs])
    print(f"| {taught} | {', '.join(people)} | {len(pairs)} | the judge {shares}", flush=True)


def _fitting(judge: Judge, people: Sequence[str]) -> None:
    """Whether a question is taken to be about its own fact, and not about another one."""
    own = recorded_pairs(*people)
    print("\n| a question beside | pairs | taken to fit |\n| --- | --- | --- |")
    for beside, pairs in (("its own fact", own), ("another of the person", mistaken(own))):
        found = judge.read([(pair.statement, pair.question) for pair in pairs])
        share = sum(fits > 0.5 for _, fits in found) / len(found)
        print(f"| {beside} | {len(pairs)} | {share:.0%} |", flush=True)


def _told_back(judge: Judge, people: Sequence[str]) -> None:
    """Whether a fact in the chat's own words is judged as one that was written down for it."""
    print("\n| a sentence of the chat, told back | questions | of Yes | of No | taken to fit |")
    print("|" + " --- |" * 5)
    said = [pair for person in people for pair in _said(person)]
    forms = {
        "You own ...": lambda told: "You said: " not in told and "I told you: " not in told,
        'You said: "..."': lambda told: "You said: " in told,
        "I told you: ...": lambda told: "I told you: " in told,
    }
    for form, is_so in forms.items():
        pairs = [pair for pair in said if is_so(pair.statement)]
        found = judge.read([(pair.statement, pair.question) for pair in pairs])
        _, yes, no = _right([y > 0.5 for y, _ in found], [bool(pair.yes) for pair in pairs])
        fit = sum(fits > 0.5 for _, fits in found) / len(found)
        print(f"| {form} | {len(pairs)} | {yes:.0%} | {no:.0%} | {fit:.0%} |", flush=True)


def _said(person: str) -> list[Pair]:
    """Questions about a fact, beside the sentence that says it.

    That is the one of the same turn with most of the fact's words, and with 60% of them at least;
    and those questions none of whose words are the fact's alone.
    """
    found = []
    maker = StatementQuestions()
    for session, record in read_sessions(CHATS / f"{person}.jsonl"):
        told = {q.statement: q.evidence[0] for q in maker.make(session) if q.statement}
        for fact in record["facts"]:
            words = set(content_words(fact["statement"]))
            there = [text for text, turn in told.items() if turn == fact["turn"]]
            if not there:
                continue
            sentence = max(there, key=lambda text: len(words & set(content_words(text))))
            missing = words - set(content_words(sentence))
            if len(missing) <= 0.4 * len(words):
                fact = {"of": person, "near": [], **fact, "statement": sentence}
                pairs = pairs_of(json.dumps(fact))
                found += [pair for pair in pairs if not missing & set(content_words(pair.question))]
    return found


def _changes(judge: Judge) -> None:
    text = (Path(__file__).parent / "changes.jsonl").read_text("utf-8")
    found: dict[str, list[tuple[bool, bool]]] = {}
    for change in map(json.loads, text.splitlines()):
        told = f"{change['now']}{EARLIER}{change['old']}"
        for kind in KINDS_OF_CHANGE:
            for question in change[kind]:
                yes = kind != "gone"
                whole = judge.probability(told, question) > 0.5
                apart = verdict(judge, told, question) > 0.5
                found.setdefault(kind, []).append((whole == yes, apart == yes))
    print("\n| facts that changed | questions | judged as a whole | now against before |")
    print("|" + " --- |" * 4)
    for kind, about in KINDS_OF_CHANGE.items():
        whole, apart = (sum(right) / len(found[kind]) for right in zip(*found[kind], strict=True))
        print(f"| {about} | {len(found[kind])} | {whole:.0%} | {apart:.0%} |")


def _asked_in_words(engine: Engine, people: Sequence[str], number: int) -> None:
    pairs = recorded_pairs(*people)
    some = random.Random(0).sample(pairs, min(number, len(pairs)))
    shares = _shares([_asked(engine, pair) for pair in some], [bool(pair.yes) for pair in some])
    print(f"| - | {', '.join(people)} | {len(some)} | the model, asked {shares}")


def _asked(engine: Engine, pair: Pair) -> bool:
    chat = [
        {"role": "system", "content": pair.statement},
        {"role": "user", "content": f"{pair.question} Answer Yes or No."},
    ]
    return engine.yes_probability(chat, None)[0] > 0.5


def _shares(said: Sequence[bool], yes: Sequence[bool]) -> str:
    return "".join(f"| {share:.0%} " for share in _right(said, yes)) + "|"


def _right(said: Sequence[bool], yes: Sequence[bool]) -> list[float]:
    """Which share of all is right, of those to be answered Yes, and of the others."""
    right = [one == other for one, other in zip(said, yes, strict=True)]
    of_yes = [one for one, wanted in zip(right, yes, strict=True) if wanted]
    of_no = [one for one, wanted in zip(right, yes, strict=True) if not wanted]
    return [sum(found) / len(found) for found in (right, of_yes, of_no)]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--asked", type=int, default=400, help="questions the model is asked")
    parser.add_argument(
        "--left-out", action="store_true", help="teach judges without ana and without bo as well"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
