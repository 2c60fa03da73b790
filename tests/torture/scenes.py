"""The scripted life, in scenes: each begins with the home that the one before has left."""

import contextlib
import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from tests.torture.ledger import Ledger, wrong_on_disk
from tests.torture.life import SEALED, keys_of
from tests.torture.worker import Call, Worker


@dataclass(frozen=True)
class Scene:
    """A few calls.

    `old` is a scene of its own, whose home an older version has left; with `sealed`, as with all
    after it, begins the life of a home that is encrypted.
    """

    name: str
    calls: tuple[Call, ...]
    old: bool = False
    sealed: bool = False


@dataclass(frozen=True)
class Stage:
    """A scene with the home that it begins with, what that holds, and its durable steps."""

    scene: Scene
    home: Path
    ledger: Ledger
    steps: tuple[str, ...]

    def __str__(self) -> str:
        return repr(self.scene.name)


def _scene(name: str, *calls: tuple[object, ...], **begins: bool) -> Scene:
    made = tuple(Call(str(name), tuple(args)) for name, *args in (("open",), *calls))
    return Scene(name, made, **begins)


# Texts are as long as what is searched for after forgetting (`forgetting.traces`).
SCENES = (
    _scene(
        "a new home",
        ("append", "ana", "chat", "canary-sings_a1", "canary-sings_a2"),
        ("append", "ana", "chat", "canary-sings_a3", "canary-sings_a4"),
        ("append", "bo", "chat", "canary-sings_b1", "canary-sings_b2"),
    ),
    _scene(
        "merged and finished",
        ("merge", "ana", "agent", "canary-sings_m1", "canary-sings_m2"),
        (
            "merge",
            "ana",
            "agent",
            "canary-sings_m1",
            "canary-sings_m2",
            "canary-sings_m3",
            "canary-sings_m4",
        ),
        ("finish", "ana", "chat"),
        ("append", "ana", "chat", "canary-sings_a5", "canary-sings_a6"),
    ),
    _scene(
        "imported",
        ("add", "ana", "import 1", "canary-sings_i1", "canary-sings_i2"),
        ("add", "ana", "import 2", "canary-sings_i3", "canary-sings_i4"),
        ("add", "ana", "import 1", "canary-sings_i1", "canary-sings_i2"),
    ),
    _scene("learned", ("consolidate", "ana")),
    _scene(
        "learned more and pruned",
        ("add", "ana", "import 3", "canary-sings_i5", "canary-sings_i6"),
        ("add", "bo", "import 1", "canary-sings_b3", "canary-sings_b4"),
        ("finish", "ana", "agent"),
        ("consolidate",),
    ),
    _scene("searched", ("recall", "ana", "canary-sings_i1"), ("recall", "bo", "canary-sings_b3")),
    _scene("forgotten", ("forget", "ana", "agent"), ("recall", "ana", "canary-sings_i1")),
    _scene("forgotten from the middle", ("forget", "ana", "import 1")),
    _scene("learned again", ("consolidate",)),
    _scene("rolled back", ("rollback", "ana", 1)),
    _scene("rolled back and learned again", ("rollback", "ana", 9), ("consolidate", "ana")),
    _scene("all forgotten", ("recall", "ana", "canary-sings_i3"), ("forget", "ana")),
    _scene(
        "begun anew",
        ("append", "ana", "chat", "canary-sings_n1", "canary-sings_n2"),
        ("finish", "ana", "chat/3"),
        ("consolidate", "ana"),
        ("recall", "ana", "canary-sings_n1"),
    ),
    _scene(
        "migrated",
        ("append", "ana", "chat", "canary-sings_o5", "canary-sings_o6"),
        ("consolidate", "ana"),
        old=True,
    ),
    _scene(
        "sealed",
        ("append", "ana", "chat", "canary-sings_s1", "canary-sings_s2"),
        ("add", "ana", "import 1", "canary-sings_s3", "canary-sings_s4"),
        ("add", "bo", "import 1", "canary-sings_s5", "canary-sings_s6"),
        ("finish", "ana", "chat"),
        ("consolidate",),
        sealed=True,
    ),
    _scene(
        "sealed, and forgotten",
        ("add", "ana", "import 2", "canary-sings_s7", "canary-sings_s8"),
        ("consolidate", "ana"),
        ("forget", "ana", "import 1"),
    ),
    _scene("sealed, and learned again", ("consolidate",), ("recall", "ana", "canary-sings_s7")),
    _scene(
        "sealed, and all forgotten",
        ("forget", "ana"),
    ),
)

_SHORT = (
    *("a new home", "merged and finished", "imported", "learned", "searched"),
    *("forgotten from the middle", "all forgotten", "migrated"),
    *("sealed", "sealed, and forgotten"),
)


def stages(directory: Path, model: Path, *, short: bool) -> list[Stage]:
    """Live all scenes once, undisturbed (or, `short`, some of them); what each began with."""
    scenes = [scene for scene in SCENES if not short or scene.name in _SHORT]
    made = []
    ledger, home = Ledger(), directory / "0"
    for number, scene in enumerate(scenes, 1):
        if scene.old:
            ledger = _old_home(home := directory / f"{number - 1}-old")
        if scene.sealed:
            ledger, home = Ledger(), directory / f"{number - 1}-new" / SEALED
        before, began_with = ledger.copy(), home
        home = copied(home, directory / str(number))
        with Worker(home, model) as worker:
            for call in scene.calls:
                answer = worker.answer(call)
                assert answer.error is None, (call, answer)
                ledger.apply(call)
                ledger.weights = answer.weights
            seen = worker.do("observe")
            wrong = ledger.wrong(seen) + wrong_on_disk(seen)
            assert wrong == [], (scene.name, wrong)
            worker.do("close")
            worker.close()
        made.append(Stage(scene, began_with, before, answer.steps))
    return made


def copied(home: Path, scratch: Path) -> Path:
    """A home as it was left, with its keys, in a directory; nothing, if there is none yet."""
    to = scratch / (SEALED if home.name == SEALED else "home")
    for name, copy in ((home, to), (keys_of(home), keys_of(to))):
        if name is not None and copy is not None and name.exists():
            shutil.copytree(name, copy)
    return to


def _old_home(root: Path) -> Ledger:
    """A home whose journal was written before the second migration."""
    from sqlalchemy import create_engine

    from plum_langchain.home import Home
    from plum_langchain.journal.migrations import m001_initial

    home = Home(root)
    engine = create_engine(home.journal_url)
    with engine.begin() as connection:
        m001_initial(connection)
    engine.dispose()
    ledger = Ledger()
    at = "2024-05-01T10:00:00.000000+00:00"
    with contextlib.closing(sqlite3.connect(root / "journal.db")) as journal:
        journal.execute("CREATE TABLE migrations (name TEXT PRIMARY KEY, at TEXT NOT NULL)")
        journal.execute("INSERT INTO migrations VALUES ('m001_initial', ?)", (at,))
        for key, (name, state) in enumerate((("s1", "finished"), ("chat", "open")), 1):
            texts = [f"canary-sings_o{2 * key - 1}", f"canary-sings_o{2 * key}"]
            journal.execute(
                "INSERT INTO sessions (id, user_id, session_id, thread_id, topic, state, material,"
                " started_at, updated_at) VALUES (?, 'ana', ?, ?, '', ?, '{}', ?, ?)",
                (key, name, name, state, at, "2099" + at[4:]),
            )
            for position, text in enumerate(texts):
                journal.execute(
                    "INSERT INTO turns (session, position, role, content, at) "
                    "VALUES (?, ?, ?, ?, ?)",
                    (key, position, "assistant" if position else "user", text, at),
                )
            ledger.said["ana", name] = texts
            if state == "open":
                ledger.open["ana", name] = name
        journal.commit()
    return ledger
