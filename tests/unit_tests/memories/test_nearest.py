"""Texts at hand, found by their vectors."""

from typing import Any

import pytest

from plum_langchain.memories import nearest
from plum_langchain.memories.nearest import Nearest
from tests.tiny import WordEmbeddings

BAKERY = "Your bakery is closed on Mondays."
BOAT = "Your boat is red."
GEESE = "You keep seven grey geese."


class Counting(WordEmbeddings):
    """Remembers what it embedded; its vectors are of any length."""

    def __init__(self) -> None:
        self.embedded: list[str] = []

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        assert texts, "some services refuse to embed nothing"
        self.embedded += texts
        return [
            [len(text) * x for x in v]
            for text, v in zip(texts, super().embed_documents(texts), strict=True)
        ]


@pytest.fixture
def embeddings() -> Counting:
    return Counting()


@pytest.fixture
def found(embeddings: Counting) -> Nearest:
    return Nearest(lambda: embeddings)


def test_the_nearest_come_first(found: Nearest) -> None:
    texts = [BAKERY, BOAT, GEESE]
    assert found.find("ana", lambda: texts, "Is my boat red?", 1) == [BOAT]
    assert found.find("ana", lambda: texts, "How many grey geese do I keep?", 2)[0] == GEESE
    assert sorted(found.find("ana", lambda: texts, "geese", 9)) == sorted(texts)


def test_nothing_is_near_to_nothing_and_needs_no_weights() -> None:
    def none() -> Any:
        raise AssertionError("asked for embeddings")

    assert Nearest(none).find("ana", lambda: [], "geese", 5) == []
    assert Nearest(none).find("ana", lambda: [BOAT], " \n", 5) == []


def test_each_is_embedded_once_and_kept_while_it_is_there(
    found: Nearest, embeddings: Counting
) -> None:
    for texts in ([BAKERY, BOAT], [BOAT, BAKERY], [BAKERY, BOAT, GEESE], [BAKERY, BOAT]):
        assert set(found.find("ana", texts.copy, "boat", 9)) == set(texts)
    assert embeddings.embedded == [BAKERY, BOAT, GEESE]
    found.find("ana", lambda: [BAKERY, BOAT, GEESE], "boat", 9)  # geese were let go of in between
    assert embeddings.embedded == [BAKERY, BOAT, GEESE, GEESE]
    found.drop("ana")
    found.find("ana", lambda: [BOAT], "boat", 9)
    assert embeddings.embedded[-1:] == [BOAT] and len(embeddings.embedded) == 5


def test_each_user_has_vectors_of_their_own(found: Nearest, embeddings: Counting) -> None:
    for user in ("ana", "bob"):
        found.find(user, lambda: [BOAT], "boat", 9)
    found.drop("ana")
    found.find("bob", lambda: [BOAT], "boat", 9)
    assert embeddings.embedded == [BOAT, BOAT]
    found.clear()
    found.find("bob", lambda: [BOAT], "boat", 9)
    assert embeddings.embedded == [BOAT, BOAT, BOAT]


def test_what_is_dropped_while_it_is_searched_is_not_kept() -> None:
    class Forgotten(Counting):
        """Another thread forgets while this one embeds."""

        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            found.drop("ana")
            return super().embed_documents(texts)

    found = Nearest(Forgotten)
    assert found.find("ana", lambda: [BOAT], "boat", 1) == [BOAT]
    assert not found._vectors


def test_what_is_dropped_while_the_texts_are_looked_for_is_not_kept(found: Nearest) -> None:
    def texts() -> list[str]:
        found.drop("ana")
        return [BOAT]

    assert found.find("ana", texts, "boat", 1) == [BOAT]
    assert not found._vectors


def test_of_texts_that_are_all_gone_nothing_is_kept(found: Nearest) -> None:
    found.find("ana", lambda: [BOAT], "boat", 1)
    assert found._vectors and found.find("ana", lambda: [], "boat", 1) == []
    assert not found._vectors


def test_of_many_users_the_last_are_kept(
    found: Nearest, embeddings: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest, "_MAX_USERS", 2)
    for user in ("ana", "bob", "ana", "carl", "ana", "bob"):
        found.find(user, lambda: [BOAT], "boat", 1)
    assert len(embeddings.embedded) == 4  # bob's twice


def test_a_query_with_a_lone_surrogate_is_one_as_any(found: Nearest) -> None:
    assert found.find("ana", lambda: [BAKERY, BOAT], "boat \ud800", 1) == [BOAT]
