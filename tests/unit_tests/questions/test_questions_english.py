"""English rewritten: persons exchanged, statements turned into questions, turns into statements."""

import pytest

from plum_langchain.questions import english
from plum_langchain.questions.names import Names
from plum_langchain.questions.sentences import clauses_of


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("I own a small bakery", "you own a small bakery"),
        ("I'm using my notebook", "you're using your notebook"),
        ("I am 34 and I was late", "you are 34 and you were late"),
        ("im home and ive eaten", "you're home and you've eaten"),
        ("she gave me hers, mine is red", "she gave you hers, yours is red"),
        ("I did it myself", "you did it yourself"),
        ("we lost our dog, it bit us", "you lost your dog, it bit you"),
        ("my wife wasn't amused, I wasn't either", "your wife wasn't amused, you weren't either"),
        ("you told me", "I told you"),
        ("Inger asks how long it takes", "Inger asks how long it takes"),
    ],
)
def test_the_user_in_the_second_person(said: str, told: str) -> None:
    assert english.exchanged(said, we=True) == told


@pytest.mark.parametrize(
    ("advice", "asked"),
    [
        ("so you don't nod off", "so I don't nod off"),
        ("hunger doesn't wake you", "hunger doesn't wake me"),
        ("send it to your dad if you are home", "send it to my dad if I am home"),
        ("I'd let you do it yourself", "you'd let me do it myself"),
        ("a delay can't hurt you", "a delay can't hurt me"),
    ],
)
def test_advice_in_the_users_voice(advice: str, asked: str) -> None:
    assert english.exchanged(advice) == asked


@pytest.mark.parametrize(
    ("clause", "question"),
    [
        ("I own a bakery", "Do I own a bakery"),
        ("I've started Finnish", "Have I started Finnish"),
        ("I've 11 pots", "Do I have 11 pots"),
        ("I'm 34 this year", "Am I 34 this year"),
        ("Tomás moved to Tampere", "Did Tomás move to Tampere"),
        ("my friend Lennart lent me a meter", "Did my friend Lennart lend me a meter"),
        ("Noreen usually brings bread", "Does Noreen usually bring bread"),
        ("my beagle Feijão is fat", "Is my beagle Feijão fat"),
        ("the doctor cut the dose", "Did the doctor cut the dose"),
        ("there's a market next door", "Is there a market next door"),
        ("Rui is 22 and hums the whole time", None),
        ("I don't like apps", None),
        ("the timer I have is yellow", None),
    ],
)
def test_questions_from_clauses(clause: str, question: str | None) -> None:
    assert english.as_question(clause) == question


@pytest.mark.parametrize(
    ("text", "is_it"),
    [
        ("I live in Leeds", True),
        ("ich wohne in Leipzig und habe einen Hund", False),
        ("我住在上海", False),
        ("", False),
    ],
)
def test_english_is_recognised(text: str, is_it: bool) -> None:
    assert english.is_english(text) is is_it


def texts(text: str, role: str = "user", *chat: str) -> list[str]:
    clauses = clauses_of(0, role, text, Names([text, *chat]))  # type: ignore[arg-type]
    return [clause.statement.text for clause in clauses if clause.statement]


@pytest.mark.parametrize(
    ("turn", "statements"),
    [
        ("hi! how are you? thanks", []),
        ("I've started Finnish, class is online every Tuesday at 19:30, and I fall asleep",
         ["I've started Finnish", "class is online every Tuesday at 19:30", "I fall asleep"]),
        ("ok btw i own a bakery in Porto lol", ["I own a bakery in Porto"]),
        ("Dr. Lurdes weighs us. It is 16.8 kg!!", ["Dr. Lurdes weighs us", "It is 16.8 kg"]),
        ("Paid 18,000 kronor to a widow", ["I paid 18,000 kronor to a widow"]),
        ("can you redo the plan", []),
        ("When we were seven, Tomás tied my kite to a goat",
         ["When we were seven, Tomás tied my kite to a goat"]),
        ("My friend Maeve teaches adults. She did it in 2022",
         ["My friend Maeve teaches adults", "Maeve did it in 2022"]),
        ("We've eggs (peanuts are fine for me) and 3 carrots",
         ["peanuts are fine for me", "We've eggs and 3 carrots"]),
        ("I can walk to the harbour and back, it's 17 minutes",
         ["I can walk to the harbour and back, it's 17 minutes"]),
        ("My nurse Samira sees me on Monday, should I show her?",
         ["My nurse Samira sees me on Monday"]),
        ("Do you think my nurse sees it, or should I show her?", []),
        ("Left side of the oven runs hot. Left the flat before 4",
         ["Left side of the oven runs hot", "I left the flat before 4"]),
    ],
)  # fmt: skip
def test_statements_of_a_turn(turn: str, statements: list[str]) -> None:
    assert texts(turn) == statements


def test_advice_is_taken_apart() -> None:
    advice = "Cut the kibble to 180 g in two meals, and give Celeste a jar of beans. Deal?"
    assert texts(advice, "assistant") == [
        "Cut the kibble to 180 g in two meals",
        "give Celeste a jar of beans",
    ]
