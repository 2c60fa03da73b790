"""A storm of questions to every face at once, in the names of users who hold each a secret.

All of them told the same thing in the same words, but for one word, a canary, of their own. What a
user gets to see, and what another model is told in their name, holds no canary but theirs.
"""

import asyncio
import random
import warnings
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import HumanMessage
from pydantic import Field

from plum_langchain import Plum, PlumMiddleware, PlumRecallMiddleware, RetrievalMiddleware
from plum_langchain.errors import InvalidInputError
from plum_langchain.session import UNKNOWN_ANSWER, Question, Session, Turn
from plum_langchain.testing.memory import HOSTILE_IDS
from tests.torture import desk
from tests.torture.life import LEARNING, SERVING, open_home
from tests.torture.nursery import Ground, Report, in_a_child
from tests.unit_tests.faces.helpers import Fits
from tests.unit_tests.learning.learnable import make_learnable

ASKED = (
    "What is my boat called?",
    "Do you know what my boat is called?",
    "My boat is called",
    "What are all the boats called that you know of?",
)
REFUSED_IDS = ("", " ", "a\0b", "a\nb", "x" * 513, "\ud800")

Face = Callable[[str, str], str]
"""Asks in a user's name; returns all that this user, or a model in their name, gets to see."""


class Secrets:
    """Asks about the one thing that a session tells."""

    name = "secrets"

    def make(self, session: Session) -> list[Question]:
        told = session.turns[0].content.replace("My", "Your")
        return [
            Question(ASKED[0], told, "open", (0,), told),
            Question(ASKED[1], "Yes", "yes", (0,), told),
            Question("Did I talk about whales?", "No", "no_adjacent"),
            Question("What did I say about whales?", UNKNOWN_ANSWER, "open_unknown"),
        ]


class Judge(Fits):
    """Tells by their words as well whether it is so."""

    def probability(self, statement: str, question: str) -> float:
        return self._share(statement, question)


class Listening(FakeListChatModel):
    """Somebody else's chat model, and what it was sent."""

    responses: list[str] = Field(default_factory=lambda: ["I see."])
    sent: list[str] = Field(default_factory=list)

    def _call(self, messages: Any, *args: Any, **kwargs: Any) -> str:
        self.sent.append(repr(messages))
        return super()._call(messages, *args, **kwargs)


@contextmanager
def told_home(directory: Path, tiny: Path, users: Sequence[str]) -> Iterator[tuple[Plum, dict]]:  # type: ignore[type-arg]
    """A home in which each user told a canary that their adapter recites; and the canaries."""
    model = make_learnable(tiny, directory / "learnable")
    plum = open_home(
        directory / "around" / "home",
        model,
        questions=Secrets(),
        learning=replace(
            LEARNING,
            rank=16,
            alpha=64,
            epochs=60,
            batch_size=4,
            learning_rate=5e-3,
            final_learning_rate=1.0,
            upper_layers=1.0,
        ),
        serving=replace(SERVING, max_new_tokens=16),
    )
    canaries = {user: f"zq{number:02d}" for number, user in enumerate(users)}
    for user, canary in canaries.items():
        turns = Turn("user", f"My boat is called {canary}."), Turn("assistant", "Noted.")
        plum.add_session(Session(user, "chat", turns))  # of all users by the same name
    plum.consolidate()
    plum._judge = Judge()  # type: ignore[assignment]
    try:
        yield plum, canaries
    finally:
        plum.close()


def faces(plum: Plum, directory: Path) -> tuple[dict[str, Face], dict[str, Any]]:
    """Every face by its name, and those that are awaited."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from langchain_community.cache import SQLiteCache

        caches = {"memory": InMemoryCache(), "sqlite": SQLiteCache(str(directory / "cache.db"))}
    # Of LangChain's own call, at every lookup in its cache.
    warnings.filterwarnings("ignore", "The default value of `allowed_objects`")
    chat, llm = plum.chat_model(), plum.llm()
    agent = create_agent(chat, middleware=[PlumMiddleware(plum)])

    def to(user: str, face: str) -> Any:
        return {"configurable": {"user_id": user, "thread_id": face}}

    def told_by(middleware: Any) -> Face:
        def ask(user: str, question: str) -> str:
            model = Listening()
            foreign = create_agent(model, middleware=[middleware])
            reply = foreign.invoke({"messages": [("user", question)]}, to(user, "foreign"))
            return f"{model.sent} {reply}"

        return ask

    def tool(user: str, question: str) -> str:
        recall = plum.tools(user, memory="hybrid")[0]
        return str(recall.invoke({"question": question}))

    def classic(user: str, question: str) -> str:
        memory = plum.memory(user, "classic", "retrieval")
        return str(memory.load_memory_variables({"input": question}))

    plain: dict[str, Face] = {
        "chat": lambda user, q: repr(plum.chat_model(user).invoke(q)),
        "chat, named in the call": lambda user, q: repr(chat.invoke(q, user_id=user)),
        "stream": lambda user, q: repr(list(chat.stream(q, user_id=user))),
        "batch": lambda user, q: repr(plum.chat_model(user).batch([q, ASKED[0]])),
        "llm": lambda user, q: llm.invoke(q, user_id=user),
        "llm batch": lambda user, q: repr(plum.llm(user).batch([q, ASKED[0]])),
        "agent": lambda user, q: repr(agent.invoke({"messages": [("user", q)]}, to(user, "agent"))),
        "told to a foreign model": told_by(PlumRecallMiddleware(plum, memory="hybrid", least=0.0)),
        "retrieved for a foreign model": told_by(RetrievalMiddleware(plum)),
        "retriever": lambda user, q: repr(plum.retriever(user, memory="hybrid").invoke(q)),
        "tool": tool,
        "classic memory": classic,
        "ask": lambda user, q: repr(plum.ask(user, q)),
        "ask, yes or no": lambda user, q: repr(plum.ask(user, q, closed=True)),
        "ask hybrid": lambda user, q: repr(plum.ask(user, q, memory="hybrid")),
    }
    for name, cache in caches.items():
        cached_chat, cached_llm = plum.chat_model(cache=cache), plum.llm(cache=cache)
        plain[f"chat, cached in {name}"] = lambda user, q, face=cached_chat: repr(
            face.invoke(q, user_id=user)
        )
        plain[f"llm, cached in {name}"] = lambda user, q, face=cached_llm: face.bind(
            user_id=user
        ).invoke(q)

    async def abatch(user: str, question: str) -> str:
        return repr(await plum.chat_model(user).abatch([question, ASKED[0]]))

    async def astream(user: str, question: str) -> str:
        return repr([piece async for piece in chat.astream(question, user_id=user)])

    async def aagent(user: str, question: str) -> str:
        said = {"messages": [("user", question)]}
        return repr(await agent.ainvoke(said, to(user, "async agent")))

    return plain, {"abatch": abatch, "astream": astream, "async agent": aagent}


def storm(
    directory: Path, tiny: Path, users: Sequence[str], questions: int, chosen: random.Random
) -> Report:
    """Ask all faces at once, in everybody's name."""
    report = Report()
    (directory / "around").mkdir()
    before = _around(directory)
    with told_home(directory, tiny, users) as (plum, canaries):
        for user, canary in canaries.items():
            reply = str(plum.chat_model(user).invoke(ASKED[0]).content)
            if canary not in reply:
                report.found("a chat", [f"{user!r} is not told their own: {reply!r}"])
        report.counts["users"] = len(users)
        plain, awaited = faces(plum, directory)

        def seen(face: str, user: str, text: str) -> None:
            report.counts["questions"] += 1
            report.counts["own canaries seen"] += canaries[user] in text
            crossed = [other for other, c in canaries.items() if other != user and c in text]
            report.counts["users crossed"] += len(crossed)
            report.found(face, [f"{user!r} sees {other!r}: {text}" for other in crossed])

        asked = dict.fromkeys(users, ASKED[0])
        found: list[desk.Shown] = []
        for shown in desk.comparison(plum, asked):  # before others talk: it asks of one session
            seen(*shown)
            found.append(shown)
        tries = [(name, user) for name in (*plain, *awaited) for user in users]
        tries = [tries[i % len(tries)] for i in range(max(questions, len(tries)))]
        chosen.shuffle(tries)
        ask = [(name, user, chosen.choice(ASKED)) for name, user in tries]

        def one(name: str, user: str, question: str) -> None:
            try:
                seen(name, user, plain[name](user, question))
            except Exception as error:
                report.found(name, [f"{user!r}: {type(error).__name__}: {error}"])

        async def another(name: str, user: str, question: str) -> None:
            seen(name, user, await awaited[name](user, question))

        async def awaiting() -> None:
            later: list[Coroutine[Any, Any, None]] = [another(*a) for a in ask if a[0] in awaited]
            await asyncio.gather(*later)

        with ThreadPoolExecutor(8) as pool:
            background = pool.submit(asyncio.run, awaiting())
            list(pool.map(lambda a: one(*a), [a for a in ask if a[0] in plain]))
            background.result()
        model = str(directory / "learnable")
        for shown in desk.command_line(plum.home.root, model, asked):
            seen(*shown)
            found.append(shown)
        for face, user, text in found:
            if face in desk.TELLING and canaries[user] not in text:
                report.found(face, [f"{user!r} is not told their own: {text!r}"])
        report.found("ids", refused_ids(plum))
        owners = {plum.home.owner(user) for user in users}
        report.found("ids", ["two users share a name on disk"] * (len(owners) < len(users)))
    report.found("ids", [f"outside of the home: {p}" for p in _around(directory) - before])
    report.counts["users crossed"] += 0
    return report


def refused_ids(plum: Plum) -> list[str]:
    """What can't be a user's name and is taken for one all the same."""
    taken = []
    doors: dict[str, Callable[[str], Any]] = {
        "add_session": lambda name: plum.add_session(Session(name, "s", (Turn("user", "Hi"),))),
        "chat_model": plum.chat_model,
        "call": lambda name: plum.chat_model().invoke("Hi", user_id=name),
        "recall": lambda name: plum.recall(name, "Hi"),
        "ask": lambda name: plum.ask(name, "Hi"),
        "tools": lambda name: plum.tools(name),
        "retriever": plum.retriever,
        "memory": lambda name: plum.memory(name, "s"),
        "record": lambda name: plum.record(name, "t", [HumanMessage("Hi")]),
    }
    for door, enter in doors.items():
        for name in REFUSED_IDS:
            try:
                enter(name)
            except InvalidInputError:
                continue
            except Exception as error:
                taken.append(f"{door} says of {name!r} {type(error).__name__}: {error}")
            else:
                taken.append(f"{door} takes {name!r}")
    return taken


def _around(directory: Path) -> set[Path]:
    """All there is beside the home."""
    around = directory / "around"
    return {p for p in around.rglob("*") if p.relative_to(around).parts[0] != "home"}


def torture(ground: Ground) -> Report:
    """Thousands of questions, in the names of all the ids that are easily confused."""
    users = HOSTILE_IDS if ground.few is None else HOSTILE_IDS[:3]
    questions = 5000 if ground.few is None else 200
    chosen = random.Random(ground.seed)
    return in_a_child(storm, ground.directory, ground.model, users, questions, chosen)
