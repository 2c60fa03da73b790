"""From a session to its questions: no secret gets through, whoever makes them."""

import json
import logging
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import BaseMessage

from plum_langchain.consolidation.prepare import Made, make_questions
from plum_langchain.errors import QuestionError
from plum_langchain.questions import LLMQuestions, RecordedQuestions, StatementQuestions
from plum_langchain.session import Question, Session
from plum_langchain.settings import QuestionSettings
from tests.tiny import records, session
from tests.unit_tests.screening.test_secrets import KEYS

ORDINARY = [
    "I own a small bakery in Porto with two ovens",
    "Then bake the rye loaf on the lower deck for 40 minutes",
    "My brother Tomás moved to Tampere two years ago",
    "Send him a voice message every Sunday evening",
    "we're closed on Mondays and I study Finnish then",
    "Keep the left pages of the notebook for words",
]
SAID = [
    "my password is {}",
    "the wifi password at home is {}",
    "btw my netflix password is {}, don't laugh",
    "I changed the password to {}",
    "{} is my password",
    "use {} as the password",
    "password: {}",
    "api key = {}",
    "My passphrase? It's {}",
    "mein Passwort ist {}",
    "la contraseña es {}",
    "пароль: {}",
]
# Some have a meaning of their own behind "my password is"; those are said of it, and not one.
PASSWORDS = st.from_regex(
    r"[a-z]{3,8}[0-9]{2,4}[a-z]{0,3}|[A-Z][a-z]{3,6}[#&%][0-9]{3}", fullmatch=True
)
PHRASES = st.sampled_from(["swordfish", "bluebonnet", "correct horse battery staple", "zyzzyva"])


def everything(made: Made) -> str:
    return "\n".join(
        f"{q.question}\n{q.answer}\n{q.statement}\n{q.replaces}" for q in made.questions
    ).casefold()


@given(
    secret=PASSWORDS | PHRASES,
    said=st.sampled_from(SAID),
    turn=st.integers(0, len(ORDINARY) - 1),
    where=st.sampled_from(["{said}. {own}", "{own}. {said}", "{own}\n{said}", "{own}, and {said}"]),
    echo=st.sampled_from(["", " Noted, {}!", " I wrote {} down for you."]),
)
def test_no_password_reaches_the_questions(
    secret: str, said: str, turn: int, where: str, echo: str
) -> None:
    assume(not any(secret.casefold() in text.casefold() for text in ORDINARY))
    texts = list(ORDINARY)
    texts[turn] = where.format(said=said.format(secret), own=texts[turn])
    if turn + 1 < len(texts):
        texts[turn + 1] += "." + echo.format(secret)
    made = make_questions(StatementQuestions(), session("ana", "s1", *texts))
    assert secret.casefold() not in everything(made)
    assert "password" in made.left_out or "key" in made.left_out
    assert len(made.questions) >= 20  # of what else was said


@given(
    secret=st.sampled_from([*KEYS, "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00"]),
    turn=st.integers(0, len(ORDINARY) - 1),
    where=st.sampled_from(["{own}. It's {secret}.", "{secret}\n{own}", "use {secret}. {own}"]),
)
def test_no_key_or_number_reaches_the_questions(secret: str, turn: int, where: str) -> None:
    texts = list(ORDINARY)
    texts[turn] = where.format(secret=secret, own=texts[turn])
    made = make_questions(StatementQuestions(), session("ana", "s1", *texts))
    assert secret.casefold() not in everything(made)
    assert sum(made.left_out.values()) == 1


class Listening(FakeListChatModel):
    """Keeps what it was shown."""

    shown: list[str]

    def _call(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> str:
        self.shown.append("\n".join(str(message.text) for message in messages))
        return super()._call(messages, *args, **kwargs)


def test_an_llm_is_never_shown_a_secret_nor_believed_one() -> None:
    def fact(statement: str, question: str, wrong: str) -> dict[str, Any]:
        return {
            "statement": statement, "said_by": "user", "turn": 0,
            "true": [question], "false": [wrong], "open": [],
        }  # fmt: skip

    reply = {
        "facts": [
            fact("You own a bakery in Porto.", "Do I own a bakery?", "Do I own a boat?"),
            fact("You own a bakery; its PIN is 4711.", "Do I own ovens?", "Do I own cars?"),
        ],
        "not_discussed": ["Have I told you about learning Swedish?"],
    }
    model = Listening(responses=[json.dumps(reply)], shown=[])
    chat = session("ana", "s1", "I own a bakery in Porto. My PIN is 4711.", "4711? Safe with me.")
    made = make_questions(LLMQuestions(model), chat)
    assert model.shown and not any("4711" in text for text in model.shown)
    assert "bakery in Porto" in model.shown[0]
    assert {q.question for q in made.questions if q.positive} == {"Do I own a bakery?"}


def recorded(*facts: tuple[str, str, str], updates: tuple[dict[str, str], ...] = ()) -> Session:
    """A chat with what was recorded of its first turn."""
    material = {
        "facts": [
            {"statement": s, "said_by": "user", "turn": 0, "true": [t], "false": [f], "open": []}
            for s, t, f in facts
        ],
        "not_discussed": ["Have I told you about whales?"],
        "updates": list(updates),
    }
    chat = session("ana", "s1", "I own a bakery. My wifi password is swordfish.", "Fine.")
    return replace(chat, material=material)


def test_recorded_questions_lose_what_the_session_lost_and_stay_balanced(
    caplog: pytest.LogCaptureFixture,
) -> None:
    chat = recorded(
        ("You own a bakery.", "Do I own a bakery?", "Do I own a boat?"),
        ("Your wifi lets swordfish in.", "Does swordfish open it?", "Does goldfish open it?"),
        updates=(
            {"old": "You own a boat.", "new": "You own a bakery."},
            {"old": "Your wifi password was cod.", "new": "Your wifi password is swordfish."},
        ),
    )
    with caplog.at_level(logging.INFO):
        made = make_questions(RecordedQuestions(), chat)
    assert "fish" not in everything(made)
    assert sum(q.positive for q in made.questions) * 2 == len(made.questions) > 0
    assert [update.new for update in made.updates] == ["You own a bakery."]
    assert "1 sentence left out (1 password)" in caplog.text
    assert "swordfish" not in caplog.text


def test_a_session_of_nothing_but_secrets_says_so_and_asks_nobody() -> None:
    model = Listening(responses=["never"], shown=[])
    chat = session("ana", "s1", "my password is hunter2")
    with pytest.raises(QuestionError, match=r"'s1' holds nothing .*1 sentence left out") as error:
        make_questions(LLMQuestions(model), chat)
    assert "hunter2" not in str(error.value)
    assert not model.shown


def test_a_maker_that_finds_nothing_in_the_rest_says_what_was_left_out() -> None:
    chat = session("ana", "s1", "my password is hunter2. Hi!", "Hello.")
    with pytest.raises(QuestionError, match=r"\(1 sentence left out \(1 password\)\)"):
        make_questions(StatementQuestions(), chat)


def test_nothing_is_left_out_where_that_is_asked_for() -> None:
    maker = StatementQuestions(QuestionSettings(screening=None))
    chat = session("ana", "s1", "my wifi password at the bakery is hunter2", "ok")
    made = make_questions(maker, chat)
    assert "hunter2" in everything(made)
    assert made.left_out == {}


def test_a_maker_without_settings_is_screened_by_default() -> None:
    class Repeats:
        name = "repeats"

        def make(self, session: Session) -> list[Question]:
            said = session.turns[0].content
            return [
                Question(f"Did I say {said}?", "Yes", "yes", (0,)),
                Question("Did I talk about whales?", "No", "no_adjacent"),
            ]

    made = make_questions(Repeats(), session("ana", "s1", "I bake. My PIN is 4711.", "ok"))
    assert [q.question for q in made.questions if q.positive] == ["Did I say I bake.?"]


def test_evidence_names_the_turns_of_the_real_session() -> None:
    texts = ["My PIN is 4711", "Ok.", "I own a bakery in Porto with two ovens", "Nice."]
    made = make_questions(StatementQuestions(), session("ana", "s1", *texts))
    assert {q.evidence for q in made.questions if q.positive} == {(2,)}


def test_recalled_text_is_not_learned_from_a_reply_though_its_session_is_forgotten() -> None:
    texts = (
        "hi! I want to plan next week, 3 evenings of Finnish at home",
        "Your bakery is closed on Mondays, and your brother Tomás lives in Tampere. "
        "Study 45 minutes of grammar every evening.",
    )
    made = make_questions(StatementQuestions(), session("ana", "s2", *texts))
    positive = " ".join(q.recital for q in made.questions if q.positive)
    assert "45 minutes of grammar" in positive
    assert "bakery" not in positive and "Tampere" not in positive
    assert made.left_out == {"assistant's claim": 1}


def test_what_earlier_sessions_told_is_not_learned_again() -> None:
    before = {7: [Question("Does Rui hum?", "Yes", "yes", (0,), "Rui hums the whole time.")]}
    texts = ("I want earplugs for 20 euros for the mornings", "Rui hums the whole time. Buy foam.")
    made = make_questions(StatementQuestions(), session("ana", "s2", *texts), before)
    assert made.left_out == {"repeated": 1}
    assert "hums" not in everything(made)


@pytest.mark.parametrize("user", ["ana", "bo"])
def test_the_recorded_questions_of_the_example_chats_stay(user: str) -> None:
    made = asked = 0
    for record in records(user):
        texts = [turn["content"] for turn in record["turns"]]
        fields = ("facts", "not_discussed", "qa_train", "updates")
        chat = Session(
            user, record["session"], session(user, "s", *texts).turns,
            material={name: record[name] for name in fields},
        )  # fmt: skip
        asked += len(RecordedQuestions().make(chat))
        made += len(make_questions(RecordedQuestions(), chat).questions)
    assert made >= 0.99 * asked
