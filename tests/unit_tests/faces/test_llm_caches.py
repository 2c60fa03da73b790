"""LangChain's LLM caches: the same user and generation hit, anything else never does.

LangChain keys chat models on their parameters and the call's, plain LLMs on their parameters
alone, so `PlumLLM` needs more care than `ChatPlum`; both go through the same tests here.
"""

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.caches import BaseCache, InMemoryCache

from tests.tiny import session

ASK = "Hello"


class Watched(BaseCache):
    """A cache of LangChain's that counts what it gives out."""

    def __init__(self, cache: BaseCache) -> None:
        self.cache = cache
        self.hits = 0

    def lookup(self, prompt: str, llm_string: str) -> Any:
        found = self.cache.lookup(prompt, llm_string)
        self.hits += found is not None
        return found

    def update(self, prompt: str, llm_string: str, return_val: Any) -> None:
        self.cache.update(prompt, llm_string, return_val)

    def clear(self, **kwargs: Any) -> None:
        self.cache.clear(**kwargs)


@pytest.fixture(params=["memory", "sqlite"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Watched:
    if request.param == "memory":
        return Watched(InMemoryCache())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # langchain-community says that it is being sunset
        from langchain_community.cache import SQLiteCache

        return Watched(SQLiteCache(str(tmp_path / "cache.db")))


@pytest.fixture
def memory_cache() -> Watched:
    """Where the kind of cache makes no difference."""
    return Watched(InMemoryCache())


def chat_face(plum: Any, *given: Any, **fields: Any) -> Any:
    return plum.chat_model(*given, **fields)


def llm_face(plum: Any, *given: Any, **fields: Any) -> Any:
    return plum.llm(*given, **fields)


@pytest.fixture(params=[chat_face, llm_face])
def face(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return request.param  # type: ignore[no-any-return]


def text(reply: Any) -> str:
    return reply if isinstance(reply, str) else reply.content


def test_the_same_user_and_generation_hits(served: Any, cache: Watched, face: Any) -> None:
    first = text(face(served, "ana", cache=cache).invoke(ASK))
    assert cache.hits == 0
    assert text(face(served, "ana", cache=cache).invoke(ASK)) == first
    assert text(face(served, cache=cache).invoke(ASK, user_id="ana")) == first
    assert text(face(served, cache=cache).bind(user_id="ana").invoke(ASK)) == first
    assert cache.hits == 3


async def test_async_shares_the_cache(served: Any, memory_cache: Watched, face: Any) -> None:
    ana, bob = (text(face(served, user).invoke(ASK)) for user in ("ana", "bob"))
    model = face(served, cache=memory_cache)
    assert text(await model.ainvoke(ASK, user_id="ana")) == ana
    assert text(await model.ainvoke(ASK, user_id="bob")) == bob
    assert memory_cache.hits == 0
    assert text(await model.ainvoke(ASK, user_id="ana")) == ana
    assert memory_cache.hits == 1


def test_no_user_gets_anothers_reply(served: Any, cache: Watched, face: Any) -> None:
    alone = {user: text(face(served, user).invoke(ASK)) for user in ("ana", "bob", "carl")}
    base = text(face(served, memory="none").invoke(ASK))
    assert len({alone["ana"], alone["bob"], base}) == 3

    ask: list[tuple[Callable[[str], Any], str]] = [
        (lambda user: face(served, user, cache=cache).invoke(ASK), "as a field"),
        (lambda user: face(served, cache=cache).invoke(ASK, user_id=user), "with the call"),
        (lambda user: face(served, cache=cache).bind(user_id=user).invoke(ASK), "bound"),
        (lambda user: face(served, "zoe", cache=cache).invoke(ASK, user_id=user), "over a field"),
        (lambda user: face(served, cache=cache).batch([ASK], user_id=user)[0], "in a batch"),
    ]
    for user in ("ana", "bob", "carl"):
        for way, name in ask:
            assert text(way(user)) == alone[user], name
    assert text(face(served, "ana", cache=cache).invoke(ASK, memory="none")) == base
    assert text(face(served, memory="none", cache=cache).invoke(ASK)) == base


def test_no_older_generation_is_ever_served(learned: Any, cache: Watched, face: Any) -> None:
    model = face(learned, "ana", cache=cache)
    old = text(model.invoke(ASK))
    learned.add_session(session("ana", "ana-2", "I keep seven grey geese.", "Seven!"))
    learned.consolidate("ana")
    fresh = text(face(learned, "ana").invoke(ASK))
    assert fresh != old
    assert text(model.invoke(ASK)) == fresh
    assert cache.hits == 0
    assert text(model.invoke(ASK)) == fresh
    assert cache.hits == 1
    learned.forget("ana", all=True)
    base = text(face(learned, memory="none").invoke(ASK))
    assert text(model.invoke(ASK)) == base


def test_a_chat_finished_since_is_a_new_answer_of_retrieval(
    learned: Any, memory_cache: Watched, face: Any
) -> None:
    model = face(learned, "bob", memory="retrieval", cache=memory_cache)
    before = text(model.invoke("Where is my boat?"))
    assert text(model.invoke("Where is my boat?")) == before
    assert memory_cache.hits == 1
    learned.add_session(session("bob", "bob-2", "Where is my boat? In Faro.", "Faro it is."))
    after = text(model.invoke("Where is my boat?"))
    assert memory_cache.hits == 1
    assert after == text(face(learned, "bob", memory="retrieval").invoke("Where is my boat?"))


def test_two_homes_share_a_cache_but_no_replies(
    learned: Any,
    memory_cache: Watched,
    face: Any,
    open_plum: Callable[..., Any],
    learned_home: Path,
) -> None:
    """Two customers may each have a user called ana, with a generation 1."""
    other = open_plum("other")
    other.add_session(session("ana", "s1", "I sail to the Azores.", "Fair winds."))
    other.consolidate()
    mine = text(face(learned, "ana", cache=memory_cache).invoke(ASK))
    assert text(face(other, "ana", cache=memory_cache).invoke(ASK)) == text(
        face(other, "ana").invoke(ASK)
    )
    assert memory_cache.hits == 0
    # The same home under another path is the same home.
    moved = learned.home.root.with_name("moved")
    shutil.copytree(learned_home, moved)
    assert text(face(open_plum("moved"), "ana", cache=memory_cache).invoke(ASK)) == mine
    assert memory_cache.hits == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"max_tokens": 2},
        {"temperature": 9.0, "seed": 3},
        {"stop": ["o"]},
        {"top_p": 0.5},
    ],
)
def test_how_a_reply_is_drawn_tells_replies_apart(
    served: Any, memory_cache: Watched, face: Any, changed: dict[str, Any]
) -> None:
    plain = face(served, "ana", cache=memory_cache).invoke(ASK)
    expected = text(face(served, "ana", **changed).invoke(ASK))
    for reply in (
        face(served, "ana", cache=memory_cache, **changed).invoke(ASK),
        face(served, "ana", cache=memory_cache).invoke(ASK, **changed),
    ):
        assert text(reply) == expected
    if "top_p" not in changed:  # which changes nothing at temperature 0
        assert expected != text(plain)
