"""How well the turns about a subject are found (`Plum.mentions`), by how near they must be.

    python benchmarks/mentions.py --people ana bo

Asked for is each recorded fact of all ten sessions, by its statement and by an open question about
it, and each topic that was never raised. Printed is for how many facts the turn that tells it is
found, and how many turns are shown.
"""

import argparse
import statistics
import tempfile
from unittest.mock import patch

from common import CHATS

from plum_langchain import Plum
from plum_langchain.evaluation import read_exams
from plum_langchain.forgetting import mentions
from plum_langchain.memories.embeddings import LocalEmbeddings


class Remembered(LocalEmbeddings):
    """The default embeddings; each text is embedded once."""

    def __init__(self) -> None:
        super().__init__()
        self._found: dict[str, list[float]] = {}

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """As `LocalEmbeddings`."""
        new = [text for text in dict.fromkeys(texts) if text not in self._found]
        if new:
            self._found.update(zip(new, super().embed_documents(new), strict=True))
        return [self._found[text] for text in texts]


def main() -> None:
    """Print a row for every threshold."""
    arguments = _arguments()
    print("| at least | by its statement: found | turns shown | by a question: found "
          "| turns shown | never raised: turns shown |\n|" + " --- |" * 6)  # fmt: skip
    with tempfile.TemporaryDirectory() as home:
        plum = Plum(home, embeddings=Remembered())
        exams = read_exams([CHATS / f"{person}.jsonl" for person in arguments.people])
        for exam in exams:
            for session in exam.sessions:
                plum.add_session(session)
        for least in arguments.least:
            cells = [f"{least:.2f}"]
            with patch.object(mentions, "_NEAR", least):
                for kind in ("statement", "open"):
                    found, shown = [], []
                    for exam in exams:
                        for session in exam.sessions:
                            for fact in session.material["facts"]:
                                query = _query(fact, kind)
                                if query is None:
                                    continue
                                turns = plum.mentions(exam.user_id, query)
                                places = {(one.session_id, one.turn) for one in turns}
                                found.append((session.session_id, fact["turn"]) in places)
                                shown.append(len(turns))
                    cells += [f"{statistics.mean(found):.0%}", f"{statistics.mean(shown):.1f}"]
                strange = [
                    len(plum.mentions(exam.user_id, topic))
                    for exam in exams
                    for session in exam.sessions
                    for topic in session.material["not_discussed"]
                ]
            print("| " + " | ".join([*cells, f"{statistics.mean(strange):.1f}"]) + " |", flush=True)
        plum.close()


def _query(fact: dict[str, object], kind: str) -> str | None:
    if kind == "statement":
        return str(fact["statement"])
    asked = fact.get("open")
    return str(asked[0]["question"]) if isinstance(asked, list) and asked else None


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--people", nargs="+", default=["ana", "bo"])
    parser.add_argument("--least", nargs="+", type=float, default=[0.3, 0.4, 0.5, 0.6])
    return parser.parse_args()


if __name__ == "__main__":
    main()
