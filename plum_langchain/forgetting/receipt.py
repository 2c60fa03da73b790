"""The receipt of a forgetting. It holds names, counts and hashes, and no word that was said."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True)
class Recall:
    """How well the replies that a session was learned from are known.

    Attributes:
        recalled: The share of which every token has p > 0.5, so that greedy decoding gives it.
        nll: The mean of -log p over all their tokens, in nats.
    """

    recalled: float
    nll: float


@dataclass(frozen=True)
class Probes:
    """The same questions about what is forgotten, asked of weights with and without it.

    Attributes:
        questions: How many.
        before: Of the weights that were served.
        control: Of those that are served since, and never saw it: an earlier generation, or the
            base model.
        after: Of those that learned again what came later; None while they haven't.
    """

    questions: int
    before: Recall
    control: Recall
    after: Recall | None = None


@dataclass(frozen=True)
class Forgotten:
    """The receipt of forgetting: what was erased, what was destroyed, what is to be relearned.

    Attributes:
        user_id: Whose.
        key: Of its row in the journal.
        sessions: Erased whole, to a tombstone.
        lost: Tombstones as well: learned later, and nothing was kept to learn them again.
        turns: Of other sessions, the turns that were erased.
        rows: Rows of the journal whose text was erased, by table.
        generations_destroyed: Their numbers; `manifests` has the hash of each one's manifest, which
            names the hashes of its weights.
        files_removed: Off the disk, of weights and of the retrieval index; their directories are
            synced.
        key_destroyed: Whether the key is that opens what earlier copies of the home hold of the
            user; it never is where the home isn't encrypted.
        serving: The generation that is served now; None for the base model.
        serving_manifest: The hash of its manifest.
        to_relearn: Sessions that went with the destroyed weights, and are in line again.
        relearned: Those of them that were learned again before the receipt was given.
        probes: None where none could be made; `no_probes` says why.
        traces: None where a search of the home's files for the erased text found nothing; else what
            may linger where, and how to wipe it.
        searched: How many pieces of text were searched for.
        seconds: How long it took.
        at: When it ended, with what was learned again.
    """

    user_id: str
    key: int = 0
    sessions: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    turns: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)
    generations_destroyed: tuple[int, ...] = ()
    manifests: Mapping[int, str] = field(default_factory=dict)
    files_removed: int = 0
    key_destroyed: bool = False
    serving: int | None = None
    serving_manifest: str | None = None
    to_relearn: tuple[str, ...] = ()
    relearned: tuple[str, ...] = ()
    probes: Probes | None = None
    no_probes: str | None = None
    traces: str | None = None
    searched: int = 0
    seconds: float = 0.0
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def to_json(self) -> dict[str, Any]:
        """As the journal keeps it and `plum forget --json` prints it."""
        record = asdict(self)
        del record["key"]
        return {
            "user": record.pop("user_id"),
            **record,
            "manifests": {str(number): sha256 for number, sha256 in self.manifests.items()},
            "seconds": round(self.seconds, 2),
            "at": self.at.isoformat("T", "seconds"),
        }
