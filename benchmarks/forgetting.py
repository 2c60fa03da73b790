"""Whether what is forgotten is gone: a receipt of a real run, and what it doesn't ask itself.

    python benchmarks/forgetting.py --person chidi --json forgetting.json

The first three sessions of a person are learned, and the second is forgotten and what came after
it learned again. Beside that home stands one that was never told the second session. Of both are
asked the person's `qa_test` questions about it; the two adapters are compared byte by byte; each
piece of text of the session is looked for in every file of the home; and a membership test asks
whether weights tell the forgotten sentences from sentences of a session nobody has learned: of
each the loss is taken, less the base model's, and the area under the ROC curve is 0.5 where they
can't be told apart (as in Carlini et al., arXiv 2112.03570, calibrated by the base model).
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import CHATS

from plum_langchain import Plum
from plum_langchain.adapters import AdapterRef
from plum_langchain.evaluation import machine, read_exams
from plum_langchain.evaluation.exam import Exam
from plum_langchain.evaluation.metrics import grade
from plum_langchain.forgetting.traces import find_traces, pieces_of
from plum_langchain.session import Session


def main() -> None:
    """Learn, forget, learn again, and ask."""
    arguments = _arguments()
    (exam,) = read_exams([CHATS / f"{arguments.person}.jsonl"], max_sessions=4)
    first, forgotten, later, unlearned = exam.sessions
    user = exam.user_id
    with tempfile.TemporaryDirectory() as directory:
        plum = _learned(Path(directory) / "home", [first, forgotten, later], arguments)
        pieces = pieces_of(_said(plum, forgotten))
        texts = _sentences(forgotten), _sentences(unlearned)
        before = _state(plum, exam, forgotten, texts)
        receipt = plum.forget(user, forgotten.session_id, relearn=True)
        after = _state(plum, exam, forgotten, texts)
        plum.close()
        files = [path for path in plum.home.root.rglob("*") if path.is_file()]
        found = sorted({str(path.name) for _, path in find_traces(files, pieces)})
        never = _learned(Path(directory) / "never", [first, later], arguments)
        control = _state(never, exam, forgotten, texts)
        same = _weights(plum, user) == _weights(never, user)
        never.close()
    assert receipt.probes is not None and receipt.probes.after is not None, receipt.no_probes
    rows = {
        "before": (before, receipt.probes.before),
        "forgotten, the later session learned again": (after, receipt.probes.after),
        "never told": (control, None),
    }
    print("| weights | its questions answered right | replies it was taught, recalled | "
          "-log p a token | membership, AUC |\n|" + " --- |" * 5)  # fmt: skip
    for name, (state, probe) in rows.items():
        probed = ("-", "-") if probe is None else (f"{probe.recalled:.0%}", f"{probe.nll:.2f}")
        print(f"| {name} | {state['right']} of {state['asked']} | {probed[0]} | {probed[1]} "
              f"| {state['auc']:.2f} |")  # fmt: skip
    print(f"\nThe two adapters are {'the same, byte for byte' if same else 'not the same'}.")
    print(f"{len(pieces)} pieces of text looked for in {len(files)} files: found in {found or 0}.")
    record = {
        "machine": machine(),
        "states": {name: state for name, (state, _) in rows.items()},
        "receipt": receipt.to_json(),
        "same_weights": same,
        "pieces": len(pieces),
        "files": len(files),
        "found_in": found,
    }
    print(json.dumps(record["receipt"], indent=1))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(record, indent=1), "utf-8")


def _learned(home: Path, sessions: Sequence[Session], arguments: argparse.Namespace) -> Plum:
    plum = Plum(home, model=arguments.model, questions="recorded")
    for session in sessions:
        plum.add_session(session)
    for done in plum.consolidate(sessions[0].user_id):
        assert done.state == "learned", done.reason
    return plum


def _state(
    plum: Plum, exam: Exam, about: Session, texts: tuple[list[str], list[str]]
) -> dict[str, Any]:
    """What the weights that are served know of a session."""
    questions = [q for q in exam.questions if q.session_id == about.session_id]
    answers = [plum.ask(exam.user_id, q.question, closed=q.closed) for q in questions]
    right = [grade(exam.user_id, q, a).correct for q, a in zip(questions, answers, strict=True)]
    head = plum.journal.generations.head(exam.user_id)
    assert head is not None
    owner = plum.home.owner(exam.user_id)
    adapter = plum.adapters.ref(owner, head.number, head.manifest_sha256, head.seal)
    told, others = ([_surprise(plum, text, adapter) for text in part] for part in texts)
    return {"asked": len(questions), "right": sum(right), "auc": _auc(told, others)}


def _surprise(plum: Plum, text: str, adapter: AdapterRef) -> float:
    """The loss of a text a token, less the base model's."""
    loss, tokens = plum.engine.loss(text, adapter)
    return (loss - plum.engine.loss(text, None)[0]) / tokens


def _auc(told: Sequence[float], others: Sequence[float]) -> float:
    """How often one that was told is less surprising than one that wasn't; a tie is half."""
    pairs = [(one, other) for one in told for other in others]
    return sum(1.0 if one < other else 0.5 * (one == other) for one, other in pairs) / len(pairs)


def _sentences(session: Session) -> list[str]:
    """The facts of a session as they are recited."""
    return [fact["statement"] for fact in session.material["facts"]]


def _said(plum: Plum, session: Session) -> list[str]:
    kept = plum.journal.generations.questions_kept(session.user_id, session.session_id)
    statements = [question.statement for question in kept if question.statement]
    return [*(turn.content for turn in session.turns), *statements]


def _weights(plum: Plum, user: str) -> bytes:
    (path, *_) = sorted((plum.home.adapters / plum.home.owner(user)).iterdir(), reverse=True)
    return (path / "adapter_model.safetensors").read_bytes()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--person", default="chidi")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
