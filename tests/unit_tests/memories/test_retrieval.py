"""The Chroma baseline: what is found, what is gone, and who owns the index."""

import errno
import os
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock, Timeout
from langchain_core.embeddings import DeterministicFakeEmbedding

from plum_langchain.errors import InvalidInputError, PlumError
from plum_langchain.memories import index
from tests.tiny import WordEmbeddings, session


def find(plum: Any, query: str, user: str = "ana", k: int = 3) -> list[str]:
    return [s.text for s in plum.memory_named("retrieval", k=k).recall(user, query).snippets]


def files_with(home: Path, text: str) -> list[str]:
    return [str(f) for f in home.rglob("*") if f.is_file() and text.encode() in f.read_bytes()]


@pytest.fixture
def chats(plum: Any) -> Any:
    plum.add_session(session("ana", "s1", "My bakery is closed on Mondays.", "Enjoy the day."))
    plum.add_session(session("ana", "s2", "I keep seven grey geese.", "Seven geese!"))
    plum.add_session(session("bob", "s1", "My bakery is closed on Sundays.", "I see."))
    return plum


# -- what is found -----------------------------------------------------------------------------


def test_the_nearest_exchange_comes_first_with_its_date_and_reply(chats: Any) -> None:
    first, second = chats.memory_named("retrieval", k=2).recall("ana", "my grey geese").snippets
    date = chats.journal.sessions.get("ana", "s2").started.strftime("%d %B %Y")
    assert first.text == f"[{date}]\nUser: I keep seven grey geese.\nAssistant: Seven geese!"
    assert (first.session_id, second.session_id) == ("s2", "s1")
    assert 0 <= first.distance < second.distance <= 2


def test_nothing_of_another_user_is_found(chats: Any) -> None:
    for user, day in (("ana", "Mondays"), ("bob", "Sundays")):
        (found,) = find(chats, "My bakery is closed on Mondays. Sundays.", user, k=1)
        assert day in found
        everything = " ".join(find(chats, "bakery", user, k=50))
        assert ("Mondays" in everything, "Sundays" in everything) == (user == "ana", user == "bob")
    assert find(chats, "bakery", "carl") == []


def test_of_a_long_message_or_a_chains_prompt_the_last_is_searched_for(
    open_plum: Callable[..., Any],
) -> None:
    asked: list[str] = []

    class Listening(WordEmbeddings):
        def embed_query(self, text: str) -> list[float]:
            if "User:" not in text:  # it embeds exchanges in this way as well
                asked.append(text)
            return super().embed_query(text)

    plum = open_plum(embeddings=Listening())
    plum.add_session(session("ana", "s1", "I keep seven grey geese.", "Seven geese!"))
    find(plum, "word " * 5000 + "my grey geese")
    assert asked[-1].endswith("word my grey geese") and len(asked[-1]) <= 500
    prompt = "The following is a chat.\n\nHuman: Hello\nAI: Hi\nHuman: my grey geese\nAI:"
    plum.llm("ana", memory="retrieval", max_tokens=1).invoke(prompt)
    assert asked[-1] == "my grey geese"


def test_no_more_than_k_and_no_more_than_there_are(chats: Any) -> None:
    assert [len(find(chats, "bakery", k=k)) for k in (1, 2, 10)] == [1, 2, 2]


def test_a_query_without_words_finds_nothing(chats: Any) -> None:
    assert find(chats, "") == find(chats, " \n") == []


@pytest.mark.parametrize("encrypted", [False, True])
def test_sessions_that_are_not_wanted_crowd_nothing_out(
    open_plum: Callable[..., Any], tmp_path: Path, encrypted: bool
) -> None:
    plum = open_plum(keys=tmp_path / "keys") if encrypted else open_plum()
    nearer = [f"s{number}" for number in range(40)]
    for name in nearer:
        plum.add_session(session("ana", name, "I keep grey geese.", "Geese!"))
    plum.add_session(session("ana", "far", "My geese are in the garden of my aunt.", "I see."))
    retrieval = plum.memory_named("retrieval", k=3)
    assert {one.session_id for one in retrieval.search("ana", "grey geese")} < set(nearer)
    (found,) = retrieval.search("ana", "grey geese", without=nearer)
    assert found.session_id == "far"
    (left, *_) = retrieval.search("ana", "grey geese", without=[*nearer[1:], "far", "unknown"])
    assert left.session_id == nearer[0]
    assert retrieval.search("ana", "grey geese", without=[*nearer, "far"]) == ()


@pytest.mark.parametrize("k", [0, -1, 2.5, True, "3"])
def test_k_is_checked(plum: Any, k: Any) -> None:
    for ask in (
        lambda: plum.memory_named("retrieval", k=k),
        lambda: plum.memory_named("hybrid", k=k),
        lambda: plum.retrieval(k),
        lambda: plum.hybrid(k=k),
    ):
        with pytest.raises(InvalidInputError, match=f"k must be .* not {k!r}"):
            ask()


def test_new_chats_are_picked_up_and_open_ones_are_not_yet(chats: Any) -> None:
    assert not any("violin" in text for text in find(chats, "violin"))
    memory = chats.memory("ana", "today")
    memory.save_context({"input": "My violin is Bohemian."}, {"output": "From Bohemia."})
    assert not any("violin" in text for text in find(chats, "violin"))
    memory.clear()
    assert "violin" in find(chats, "violin")[0]
    chats.add_session(session("ana", "s9", "My other violin is broken.", "A pity."))
    assert sum("violin" in text for text in find(chats, "violin")) == 2


def test_learned_sessions_stay_and_nothing_is_indexed_twice(chats: Any) -> None:
    before = find(chats, "bakery", k=50)
    chats.consolidate("ana")
    assert sorted(find(chats, "bakery", k=50)) == sorted(before)


def test_a_chat_in_another_script(plum: Any) -> None:
    plum.add_session(session("ana", "zh", "我的面包店星期一休息。" * 200, "好的。"))
    plum.add_session(session("ana", "ar", "مخبزي مغلق يوم الاثنين", "حسنا"))
    plum.add_session(session("ana", "😀 ../..", "Ναι, το αρτοποιείο μου.", "Ωραία. 😀"))
    assert "面包店" in find(plum, "面包店星期一", k=1)[0]
    assert find(plum, "مخبزي مغلق", k=1)[0].endswith("مخبزي مغلق يوم الاثنين\nAssistant: حسنا")
    assert find(plum, "αρτοποιείο μου", k=1)[0].endswith("Ωραία. 😀")


def test_a_turn_of_50_000_words_is_indexed_in_parts_and_never_floods_the_prompt(
    plum: Any,
) -> None:
    # Chroma's search is approximate, and lost among thousands of parts that are all alike.
    draw = random.Random(0)
    words = [f"word{draw.randrange(5_000)}" for _ in range(50_000)]
    words[40_000:40_100] = ["rhinoceros"] * 100
    plum.add_session(session("ana", "long", " ".join(words), "That was long."))
    found = find(plum, "rhinoceros", k=3)
    assert "rhinoceros" in found[0]
    assert all(len(text) < 1_100 for text in found)
    assert "rhinoceros" in find(plum, "rhinoceros " * 50_000)[0]  # as a question, too


def test_a_user_with_many_sessions_is_indexed_in_batches(
    plum: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plum_langchain.memories.retrieval._BATCH", 3)
    for n in range(8):
        plum.add_session(session("ana", f"s{n}", f"Goose number {n} is grey.", "Fine."))
    assert len(find(plum, "grey goose", k=50)) == 8


# -- what is gone ------------------------------------------------------------------------------


def test_a_forgotten_session_leaves_nothing_in_the_home(chats: Any) -> None:
    chats.add_session(session("ana", "secret", "My zebra is called Quibblewort.", "Nice."))
    assert "Quibblewort" in find(chats, "zebra", k=1)[0]
    find(chats, "bakery", "bob")
    assert files_with(chats.home.root, "Quibblewort")
    chats.forget("ana", "secret")
    assert not files_with(chats.home.root, "Quibblewort")
    assert not any("Quibblewort" in text for text in find(chats, "zebra", k=50))
    assert len(find(chats, "zebra", k=50)) == 2
    assert len(find(chats, "bakery", "bob", k=50)) == 1
    chats.close()
    assert not files_with(chats.home.root, "Quibblewort")


def test_no_memory_of_the_process_is_written_into_an_index(chats: Any) -> None:
    """Chroma makes its files of vectors out of memory as it finds it: of anybody's chats."""
    for user in ("ana", "bob"):
        find(chats, "bakery", user)
    chats.close()
    find(chats, "bakery")
    for name in ("data_level0.bin", "length.bin"):
        files = list(chats.home.retrieval.glob(f"*/*/{name}"))
        assert len(files) == 2
        for file in files:  # so few vectors are kept in its database yet
            assert file.stat().st_size > 0 and not any(file.read_bytes())


def test_forgetting_everything_deletes_the_users_index(chats: Any) -> None:
    find(chats, "bakery"), find(chats, "bakery", "bob")
    chats.forget("ana", all=True)
    left = [entry.name for entry in chats.home.retrieval.iterdir() if entry.is_dir()]
    assert left == [chats.home.owner("bob")]
    assert find(chats, "bakery", k=50) == []


def test_a_crash_while_forgetting_is_made_good_by_the_next_search(chats: Any) -> None:
    find(chats, "bakery")
    with chats.journal.jobs.claim("ana", "forget") as job:  # and here the process dies
        chats.journal.forgettings.erase(job, ["s1"])
    chats.journal.scrub()
    assert files_with(chats.home.retrieval, "Mondays")
    assert len(find(chats, "bakery closed on Mondays", k=50)) == 1
    assert not files_with(chats.home.retrieval, "Mondays")


def test_a_session_cut_off_while_it_was_indexed_is_indexed_whole(
    open_plum: Callable[..., Any],
) -> None:
    class Dying(WordEmbeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            if "part 3" in " ".join(texts):
                raise MemoryError
            return super().embed_documents(texts)

    said = [t for n in range(6) for t in (f"This is part {n} of it.", "Yes.")]
    plum = open_plum(embeddings=Dying())
    plum.add_session(session("ana", "s1", *said))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("plum_langchain.memories.retrieval._BATCH", 1)
        with pytest.raises(MemoryError):
            find(plum, "part")
    plum.close()
    assert len(find(open_plum(), "part", k=50)) == 6


# -- the index as a thing of its own -----------------------------------------------------------


def test_the_index_is_derived(chats: Any, open_plum: Callable[..., Any]) -> None:
    before = find(chats, "bakery")
    chats.close()
    shutil.rmtree(chats.home.retrieval)
    assert find(open_plum(), "bakery") == before


def test_a_closed_home_can_still_be_asked(chats: Any) -> None:
    before = find(chats, "bakery")
    chats.close()
    assert find(chats, "bakery") == before


def test_it_is_kept_from_one_opening_to_the_next(chats: Any, open_plum: Callable[..., Any]) -> None:
    class Counting(WordEmbeddings):
        texts: list[str] = []  # noqa: RUF012  of the class on purpose

        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            self.texts += texts
            return super().embed_documents(texts)

    before = find(chats, "bakery")
    chats.close()
    again = open_plum(embeddings=Counting())
    again.add_session(session("ana", "s3", "My violin is Bohemian.", "I see."))
    assert find(again, "bakery", k=1) == before[:1]
    assert len(Counting.texts) == 1 and "violin" in Counting.texts[0]


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (DeterministicFakeEmbedding(size=128), "words-128, 128.*DeterministicFakeEmbedding, 128"),
        (type("Short", (WordEmbeddings,), {"embed_query": lambda *_: [1.0]})(), "words-128, 1 d"),
    ],
)
def test_other_embeddings_are_refused(
    chats: Any, open_plum: Callable[..., Any], other: Any, told: str
) -> None:
    before = find(chats, "bakery")
    chats.close()
    strange = open_plum(embeddings=other)
    with pytest.raises(InvalidInputError, match=rf"other embeddings \(.*{told}.*delete"):
        find(strange, "bakery")
    strange.forget("bob", "s1")  # forgetting needs no embeddings
    assert find(chats, "bakery") == before


def test_a_damaged_index_is_one_clear_sentence(chats: Any, open_plum: Callable[..., Any]) -> None:
    find(chats, "bakery")
    chats.close()
    (database,) = chats.home.retrieval.glob("*/chroma.sqlite3")
    database.write_bytes(b"no database" * 1000)
    with pytest.raises(PlumError, match=r"can't be opened .*in the journal too.*delete"):
        find(open_plum(), "bakery")


def test_more_users_than_are_kept_open(plum: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "_MAX_OPEN", 2)
    users = [f"user{n}" for n in range(4)]
    for user in users:
        plum.add_session(session(user, "s1", f"I am called {user}.", "Hello."))
    for _ in range(2):
        for user in users:
            (text,) = find(plum, "called", user)
            assert f"I am called {user}." in text


def test_threads_search_while_chats_come_in(plum: Any) -> None:
    failures: list[Any] = []

    def work(user: str) -> None:
        try:
            for n in range(5):
                plum.add_session(session(user, f"s{n}", f"{user} has goose {n}.", "Yes."))
                found = find(plum, "goose", user, k=50)
                if len(found) < n + 1 or not all(f"User: {user} " in text for text in found):
                    failures.append(found)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(u,)) for u in ("ana", "bob", "ana2", "bob2")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_ids_never_become_paths(plum: Any) -> None:
    for user in ("../../x", "a/b", ".", "C:\\x", "ü" * 300):
        plum.add_session(session(user, "../../../s", "My bakery is closed.", "I see."))
        assert len(find(plum, "bakery", user)) == 1
    names = {entry.name for entry in plum.home.retrieval.iterdir()}
    assert names == {"owner.lock"} | {
        plum.home.owner(user) for user in ("../../x", "a/b", ".", "C:\\x", "ü" * 300)
    }
    assert {entry.name for entry in plum.home.root.parent.iterdir()} == {"home"}


# -- one owning process ------------------------------------------------------------------------

SECOND = """
import sys
sys.path.insert(0, sys.argv[2])
from plum_langchain import Plum, PlumError
from tests.tiny import WordEmbeddings
plum = Plum(sys.argv[1], embeddings=WordEmbeddings())
for ask in (
    lambda: plum.memory_named("retrieval").recall("ana", "bakery").snippets,
    lambda: plum.forget("ana", "s2").sessions,
):
    try:
        print(ask())
    except PlumError as error:
        print(type(error).__name__, error)
"""


def second_process(home: Path) -> list[str]:
    """What another process is told when it searches, and when it forgets ana's s2."""
    done = subprocess.run(
        [sys.executable, "-c", SECOND, str(home), str(Path(__file__).parents[3])],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_another_process_is_told_in_a_sentence_and_nothing_is_lost(chats: Any) -> None:
    before = find(chats, "bakery")
    told = second_process(chats.home.root)
    assert len(told) == 2
    for sentence in told:
        assert sentence.startswith("BusyError the retrieval indexes in ")
        assert "in use by another process" in sentence
    assert find(chats, "bakery") == before
    assert chats.journal.sessions.get("ana", "s2").turns
    chats.close()
    found, forgotten = second_process(chats.home.root)
    assert "Mondays" in found and forgotten == "('s2',)"
    assert find(chats, "bakery", k=50) == before[:1]  # that process has ended: it is ours again


def owned(plum: Any) -> bool:
    lock = FileLock(plum.home.retrieval / "owner.lock")
    try:
        with lock.acquire(timeout=0):
            return False
    except Timeout:
        return True


def test_two_objects_of_one_process_share_it(
    chats: Any, open_plum: Callable[..., Any], tmp_path: Path
) -> None:
    find(chats, "bakery")
    (tmp_path / "link").symlink_to(chats.home.root)
    other = open_plum("link")
    assert find(other, "bakery") == find(chats, "bakery")
    other.forget("ana", "s1")
    assert len(find(chats, "bakery", k=50)) == 1
    chats.close()
    assert owned(other)
    assert len(find(other, "geese", k=50)) == 1  # still open there
    closer = threading.Thread(target=other.close)  # a server's shutdown hook has its own thread
    closer.start()
    closer.join()
    other.close()
    assert not owned(other)


def test_a_home_whose_index_cannot_be_made(plum: Any) -> None:
    plum.add_session(session())
    plum.home.retrieval.write_text("a file stands here")
    with pytest.raises(PlumError, match="can't be used for retrieval indexes"):
        find(plum, "bakery")


def test_an_index_that_could_not_be_opened_is_when_the_disk_is_whole_again(
    chats: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from chromadb.api.rust import RustBindingsAPI

    def refuse(_: Any) -> None:
        raise RuntimeError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(RustBindingsAPI, "start", refuse)
        with pytest.raises(PlumError, match=r"can't be opened .database or disk is full"):
            find(chats, "bakery")
    assert len(find(chats, "bakery")) == 2


def test_an_error_of_the_indexs_own_is_told_and_it_is_opened_anew(
    chats: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from chromadb.errors import InternalError
    from langchain_chroma import Chroma

    def refuse(*_: Any, **__: Any) -> None:
        raise InternalError("disk I/O error")

    with monkeypatch.context() as patched:
        patched.setattr(Chroma, "add_texts", refuse)
        with pytest.raises(PlumError, match=r"can't be used .disk I/O error.*in the journal too"):
            find(chats, "bakery")
    assert len(find(chats, "bakery")) == 2


@pytest.mark.parametrize("refused", ["mkdir", "unlink"])
def test_a_disk_that_refuses_is_a_sentence(
    chats: Any, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    if refused == "unlink":
        find(chats, "bakery")
    else:
        find(chats, "bakery", "bob")  # `retrieval/` itself is there
    retrieval = chats.memory_named("retrieval")
    ask = (
        (lambda: retrieval.forget("ana")) if refused == "unlink" else lambda: find(chats, "bakery")
    )
    with monkeypatch.context() as patched:
        patched.setattr(os, refused, refuse)
        with pytest.raises(PlumError, match=r"can't be used .*Input/output error"):
            ask()
    ask()
    assert len(find(chats, "bakery")) == 2
