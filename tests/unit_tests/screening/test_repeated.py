"""What an assistant only says again isn't learned from it, also when its source is forgotten."""

import pytest

from plum_langchain.screening import screen
from plum_langchain.settings import ScreeningSettings
from tests.tiny import session

KNOWN = ["Your bakery is closed on Mondays.", "Rui hums the whole time.", "I told you: buy rye."]


def left(reply: str, known: list[str], said: str = "hi, how should I plan my week?") -> str:
    """What may be learned of a reply."""
    screened = screen(session("ana", "s2", said, reply), ScreeningSettings(), known)
    assert screened.session.turns[0].content == said
    return screened.session.turns[1].content


@pytest.mark.parametrize(
    "reply",
    [
        "Your bakery is closed on Mondays.",
        "As you told me, your bakery is closed on Mondays.",
        "Mondays your bakery is closed, so rest.",
        "Rui hums the whole time, so wear earplugs.",
        "Buy rye.",
    ],
)
def test_what_an_earlier_session_told_is_left_out(reply: str) -> None:
    assert left(reply, KNOWN) == ""
    assert left(f"{reply} Bake at 200 degrees.", KNOWN) == "Bake at 200 degrees."


@pytest.mark.parametrize(
    "reply",
    [
        "Your bakery is closed on Mondays.",
        "As you told me, your bakery is closed on Mondays.",
        "You own a bakery in Porto.",
        "You've got a twin brother.",
        "Since you live in Porto, take the train.",
        "You have two dogs, so walk them early.",
    ],
)
def test_what_only_the_assistant_says_of_the_user_is_left_out(reply: str) -> None:
    """So also where nobody knows any more that it was told: its session was forgotten."""
    assert left(reply, []) == ""


def test_what_the_user_said_is_learned_from_them() -> None:
    said = "I own a bakery in Porto, closed on Mondays"
    assert left("So your bakery in Porto is closed on Mondays.", [], said) == ""


@pytest.mark.parametrize(
    "reply",
    [
        "Then rest on Mondays and bake on Tuesdays.",
        "Take a nap of 20 minutes at 18:30.",
        "You could take the train at 9.",
        "You'd fly to Helsinki with one change.",
        "If you have a scale, weigh the flour.",
        "Do you own a bakery?",
        "Paper is fine.",
    ],
)
def test_advice_stays(reply: str) -> None:
    assert left(reply, KNOWN) == reply


def test_advice_may_hold_what_the_user_said_here() -> None:
    said = "my bakery is closed on Mondays, when should I study?"
    reply = "Since your bakery is closed on Mondays, do 45 minutes of grammar then."
    assert left(reply, KNOWN, said) == reply


def test_another_number_is_another_fact() -> None:
    assert left("Buy rye for 12 euros.", KNOWN) == "Buy rye for 12 euros."
