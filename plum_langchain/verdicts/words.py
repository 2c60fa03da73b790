"""What words alone tell of whether a question claims what a statement says."""

import re

from plum_langchain.questions.text import alike, content_words, words_of

FEATURES = 9
"""How many values `overlap` gives."""

# A capital inside a sentence: a name, a weekday, a month; but not "I" and what is made of it.
_INSIDE = re.compile(r"(?<=[\w,'’] )(?!I\b)[^\W\d_a-z][\w'’-]*")
_CAPITALISED = re.compile(r"\b(?!I\b)[^\W\d_a-z][\w'’-]*")


def overlap(statement: str, question: str) -> list[float]:
    """How the words of a question go with those of a statement: shares and counts.

    A value that the question names and the statement doesn't, where the statement has one of its
    own kind (another number, another name), is what a false claim looks like.
    """
    said, asked = content_words(statement), content_words(question)
    covered = [any(alike(word, other) for other in said) for word in asked]
    numbers = [word for word in words_of(question) if word[0].isdigit()]
    known_numbers = [word for word in words_of(statement) if word[0].isdigit()]
    new_numbers = [number for number in numbers if number not in known_numbers]
    known_names = [name.casefold() for name in _CAPITALISED.findall(statement)]
    names = [name.casefold() for name in _INSIDE.findall(question)]
    new_names = [name for name in names if not any(alike(name, other) for other in known_names)]
    return [
        sum(covered) / max(1, len(covered)),
        float(len(covered) - sum(covered)),
        float(len(numbers)),
        float(len(new_numbers)),
        float(bool(new_numbers and known_numbers)),
        float(bool(numbers) and not new_numbers),
        float(len(new_names)),
        float(bool(new_names) and len(known_names) > 1),
        float(len(words_of(question))),
    ]
