"""Whether what a question asks about was told after all, in a chat or in chats before it."""

from collections import Counter, defaultdict
from collections.abc import Iterable

from plum_langchain.questions.english import is_english
from plum_langchain.questions.text import SMALL_WORDS, alike, content_words, listed, stem, words_of
from plum_langchain.session import Session

_ASKING = frozenset(
    listed(
        "tell told mention mentioned talk talked discuss discussed ask asked advise advised know "
        "say anything everything remember remind"
    )
)

_TOLD = 0.5
_AT_LEAST = 2
"""A statement tells what is asked about if it has more than this share of its words, and so many: a
neighbour of what was told ("the wedding's photographer") has half of them, seldom more."""


def was_raised(question: str, session: Session) -> bool:
    """Whether all that a question asks about was said in one turn: it was raised after all."""
    topic = _topic(question)
    return any(
        topic and all(any(alike(word, other) for other in said) for word in topic)
        for said in (set(words_of(turn.content)) - SMALL_WORDS for turn in session.turns)
    )


class Heard:
    """Statements, to ask which of them tell what a question asks about.

    Args:
        statements: In any number; asking takes as long as there are some with the same words.
    """

    def __init__(self, statements: Iterable[str]) -> None:
        self._statements = list(dict.fromkeys(statements))
        self._places: dict[str, list[int]] = defaultdict(list)
        for place, statement in enumerate(self._statements):
            for form in {_form(word) for word in content_words(statement)}:
                self._places[form].append(place)

    def telling(self, question: str) -> list[str]:
        """Those that have most of the words which the question asks about.

        None for a question that isn't English: small words can't be told from others there.
        """
        topic = {_form(word) for word in _topic(question)}
        if len(topic) < _AT_LEAST or not is_english(question):
            return []
        shared = Counter(place for form in topic for place in self._places.get(form, ()))
        return [
            self._statements[place]
            for place, common in shared.items()
            if common >= _AT_LEAST and common > _TOLD * len(topic)
        ]


def _topic(question: str) -> list[str]:
    return [word for word in content_words(question) if word not in _ASKING]


def _form(word: str) -> str:
    """What all forms of a word have in common, as `alike` sees them."""
    common = word if word[0].isdigit() else stem(word)
    return common if len(common) >= 3 else word
