"""Questions from the chat's own sentences, by rules; with a writer, in its words as well.

Each statement worth remembering is asked about as it was said (Yes), with one value swapped (No)
and openly (the statement told back). Topics near the chat's that were never raised are asked about
in the same forms (No, or "We never talked about that."), so that the form of a question never gives
its answer away.
"""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from plum_langchain.errors import InvalidInputError, QuestionError
from plum_langchain.questions import english
from plum_langchain.questions.balance import balance
from plum_langchain.questions.context import in_context, things
from plum_langchain.questions.keywords import subjects_of, word_counts
from plum_langchain.questions.maker import QuestionWriter, StoppableMaker
from plum_langchain.questions.names import Names
from plum_langchain.questions.negatives import find_slots, swap_values, topics_never_raised
from plum_langchain.questions.persons import told_of
from plum_langchain.questions.sentences import Statement, clauses_of
from plum_langchain.questions.text import Said, content_words, listed, normalised
from plum_langchain.questions.topics import Topic
from plum_langchain.questions.written import written
from plum_langchain.session import UNKNOWN_ANSWER, Kind, Question, Role, Session
from plum_langchain.settings import QuestionSettings

MAX_STATEMENTS = 40
"""Statements used of one session, the most telling ones: training on a chat of any length takes a
bounded time (at most 10 questions a statement, and 12 that are written)."""

_WRITTEN_OF = 400
"""Characters of a statement at most that a writer is given: it learned from short ones, and a model
reads so many tokens and no more."""

_TOPICS_WRITTEN_OF = 12
"""Of what was never raised, so much is asked about by a writer."""

_MIN_WORTH = 2.0
_POINTING = frozenset(listed("he she it they that this those these there he's she's it's they're"))


class StatementQuestions(StoppableMaker):
    """Balanced questions from a session's sentences; deterministic for a seed.

    Args:
        settings: What to ask about.
        phrasings: Closed questions answered Yes for each statement, and as many answered No.
        writer: Writes more questions about each statement, and about what was never raised, in
            words that aren't the statement's.
        teach: Whether the writer may be taught for it, where none is shipped. If not, then nothing
            is written there.
    """

    def __init__(
        self,
        settings: QuestionSettings | None = None,
        *,
        phrasings: int = 3,
        writer: QuestionWriter | None = None,
        teach: bool = True,
    ) -> None:
        if phrasings < 1:
            raise InvalidInputError(f"phrasings must be at least 1, not {phrasings}")
        self.settings = settings or QuestionSettings()
        self.phrasings = phrasings
        self._writer = writer
        self._teach = teach

    @property
    def writer(self) -> QuestionWriter | None:
        """Who writes more; None for nobody."""
        writer = self._writer
        return writer if writer is not None and (self._teach or writer.shipped) else None

    @property
    def name(self) -> str:
        """Who made the questions: "written" with a writer, else "statements"."""
        return "statements" if self.writer is None else "written"

    def prepare(self, should_stop: Callable[[], bool] | None = None) -> None:
        """Have the writer taught, if there is one and it has to be (`Taught.prepare`)."""
        if self.writer is not None:
            self.writer.prepare(should_stop)

    def make(
        self, session: Session, *, should_stop: Callable[[], bool] | None = None
    ) -> list[Question]:
        """Questions about what the user said and, as told by the assistant, what it advised.

        Args:
            session: With its turns.
            should_stop: Asked while more are written.

        Raises:
            StoppedError: `should_stop` returned True.
            QuestionError: no sentence of the session says anything to ask about.
        """
        chat = Chat([turn.content for turn in session.turns])
        statements = self._statements(session, chat)
        if not statements:
            whose = "" if self.settings.learn_assistant else " of the user"
            raise QuestionError(
                f"session {session.session_id!r} holds no sentence{whose} to ask about among its "
                f"{len(session.turns)} turns (questions, greetings and fragments of a few words "
                "don't count); nothing can be learned from it"
            )
        return self.about(statements, chat, session.session_id, should_stop=should_stop)

    def about(
        self,
        statements: Sequence[Statement],
        chat: "Chat",
        session_id: str,
        *,
        should_stop: Callable[[], bool] | None = None,
    ) -> list[Question]:
        """Balanced questions about these statements, wherever they are from.

        Args:
            statements: At least one.
            chat: What else was said: none of it is asked about as if it hadn't been.
            session_id: Draws what is put in and left out, with the settings' seed.
            should_stop: Asked while more are written.
        """
        rng = random.Random(f"{self.settings.seed}:{session_id}")
        questions: list[Question] = []
        asked = {normalised(name) for name in chat.speakers.values()}
        for statement in statements:
            questions += self._about(statement, chat, rng, asked)
        topics = topics_never_raised(chat.said, rng)
        questions += self._never_raised(questions, topics, chat)
        writer = self.writer
        if writer is not None:
            by_rule = {normalised(question.question) for question in questions}
            told = {told_back(one): one.turn for one in statements if one.english}
            known = {text: turn for text, turn in told.items() if len(text) <= _WRITTEN_OF}
            never = [_claimed(topic) for topic in topics[: min(_TOPICS_WRITTEN_OF, len(known))]]
            more = written(writer, known, never, seed=self.settings.seed, should_stop=should_stop)
            # Of two answers to one question both would be dropped; a rule's is the surer one.
            questions += [one for one in more if normalised(one.question) not in by_rule]
        return balance(
            questions, seed=self.settings.seed, max_questions=self.settings.max_questions
        )

    def _statements(self, session: Session, chat: "Chat") -> list[Statement]:
        """The statements most worth learning, in the order they were said."""
        found: dict[str, Statement] = {}
        for index, turn in enumerate(session.turns):
            if turn.role == "user" or self.settings.learn_assistant:
                said = clauses_of(
                    index, turn.role, turn.content, chat.names, english_chat=chat.english
                )
                for statement in in_context(said, chat.names, chat.counts):
                    found.setdefault(normalised(told_back(statement)), statement)
        worth = [(_worth(s, chat.names), -i, s) for i, s in enumerate(found.values())]
        best = sorted(worth, key=lambda w: w[:2], reverse=True)
        kept = [w for w in best if w[0] >= _MIN_WORTH] or best[:3]
        return [s for _, _, s in sorted(kept[:MAX_STATEMENTS], key=lambda w: -w[1])]

    def _about(
        self, statement: Statement, chat: "Chat", rng: random.Random, asked: set[str]
    ) -> list[Question]:
        """Closed and open questions about one statement."""
        told, where = told_back(statement), (statement.turn,)
        subject = _unasked(subjects_of(statement, chat.names, chat.counts), asked)
        about = _about_what(statement.after, chat)
        # Also where a name is swapped for one that the chat doesn't know.
        named = any(name.start == 0 for name in chat.names.find(statement.text))
        closed = _closed_forms(statement, chat.names, named=named)[: self.phrasings]
        closed = [_speaking_of(about, question) for question in closed]
        if subject and self.phrasings > 1:
            whether = {
                "user": "Did I tell you about {}?",
                "assistant": "Did you advise me about {}?",
            }
            closed[self.phrasings - 1 :] = [whether[statement.role].format(subject)]
        made = [Question(question, "Yes", "yes", where, told) for question in closed]
        names = chat.names if statement.english else None
        swaps = (
            swap
            for swap in swap_values(statement.text, chat.said, rng, names)
            if swap.old not in chat.speakers.values()
        )
        for number, swap in enumerate(islice(swaps, self.phrasings)):
            other = replace(statement, text=swap.text)
            swapped = _closed_forms(other, chat.names, named=named)
            question = swapped[number % min(len(swapped), max(1, self.phrasings - 1))]
            question = _speaking_of(about, question)
            made.append(Question(question, "No", "no_same_slot", where, told))
        if subject:
            for question in _open_forms(subject, statement.role, chat):
                made.append(Question(question, told, "open", where, told))
        return made

    def _never_raised(
        self, made: list[Question], topics: Sequence[Topic], chat: "Chat"
    ) -> list[Question]:
        """Questions about neighbouring topics: enough to balance with, a third of all No at least.

        Few topics in many forms would be learned by heart, so each topic is asked about in two
        closed and two open forms at most.
        """
        positives = sum(q.kind == "yes" for q in made)
        swapped = sum(q.kind == "no_same_slot" for q in made)
        closed_wanted = max(positives - swapped, positives // 3, 2)
        open_wanted = sum(q.kind == "open" for q in made)
        closed: list[Question] = []
        opened: list[Question] = []
        roles: tuple[Role, Role] = ("user", "user")
        if self.settings.learn_assistant:
            roles = ("user", "assistant")
        for number, topic in enumerate(topics):
            if len(closed) >= closed_wanted and len(opened) >= open_wanted:
                break
            role = roles[number % 3 == 2]
            if role in chat.speakers:
                name = chat.speakers[role]
                topic = Topic(told_of(name, topic.about), told_of(name, topic.claim))
            forms = topic_forms(topic, role)
            closed += [Question(q, "No", "no_adjacent") for q in _rotated(forms, number)[:2]]
            opened += [
                Question(question, UNKNOWN_ANSWER, "open_unknown")
                for question in _open_forms(topic.about, role, chat)
            ]
        # Else what a question speaks of first would mostly be what Yes follows.
        openings = _openings(made, "yes")[len(_openings(made, "no_same_slot")) :]
        for number, opening in enumerate(openings[:closed_wanted]):
            asked = opening + english.uncapitalised(closed[number].question)
            closed[number] = replace(closed[number], question=asked)
        return closed[:closed_wanted] + opened[:open_wanted]


class Chat:
    """What is known of a whole chat, read once.

    Args:
        texts: All that was said.
        speakers: The names of those who say it, where its statements are about them by name
            ("Ana owns a bakery") and not in the first person. What was never raised is asked about
            by name then as well. Such a name tells no statement from another: nothing is asked
            about as what has to do with it, and no other name is put in for it.
    """

    def __init__(self, texts: list[str], speakers: Mapping[Role, str] | None = None) -> None:
        self.speakers = dict(speakers or {})
        self.said = Said(texts)
        self.names = Names(texts)
        self.names.kinds.update(dict.fromkeys(self.speakers.values(), "person"))
        self.counts = word_counts(texts)
        self.english = english.is_english(" ".join(text[:2_000] for text in texts)[:20_000])


_SPEAKING_OF = "Speaking of {}: "
_OPENING = re.compile(_SPEAKING_OF.format(".*?"))


def _openings(questions: Sequence[Question], kind: Kind) -> list[str]:
    """How those of a kind begin that speak of something first."""
    found = (_OPENING.match(q.question) for q in questions if q.kind == kind)
    return [opening.group() for opening in found if opening]


def _about_what(statement: Statement | None, chat: Chat) -> str | None:
    """What a statement that others point back at is about; a person only if nothing else."""
    if statement is None:
        return None
    named = things(statement, chat.names, chat.counts)
    return (named or subjects_of(statement, chat.names, chat.counts))[0]


def _speaking_of(about: str | None, question: str) -> str:
    """A question about something that was named before it."""
    return _SPEAKING_OF.format(about) + english.uncapitalised(question) if about else question


def _worth(statement: Statement, names: Names) -> float:
    """How much there is to remember in a statement: values, names, words of substance."""
    text = statement.text
    slots = len(find_slots(text, names if statement.english else None))
    worth = 1.5 * min(slots, 4) + 0.4 * min(len(set(content_words(text))), 8)
    first = english.words(text)[:1]
    pointing = first and first[0] in _POINTING and statement.after is None
    worth += (statement.form != "quote") - 1.5 * bool(pointing)
    if not statement.english:
        return worth + 1.5
    if statement.role == "user":
        return worth - 1.5 * ("you" in english.words(text))
    if first and first[0] in ("that's", "it's", "that", "this", "those"):
        return worth - 2.0  # most often a comment on what the user said
    return worth if statement.form == "advice" or slots else worth - 1.5


def _open_forms(subject: str, role: Role, chat: Chat) -> list[str]:
    """Ways to ask for what was said about something."""
    asked = {
        "user": ("What did I tell you about", "What do you remember about"),
        "assistant": ("What did you tell me about", "What was your advice about"),
    }
    forms = [f"{opening} {subject}?" for opening in asked[role]]
    if role in chat.speakers:
        forms.append(f"What do you know about {chat.speakers[role]} and {subject}?")
    return forms


def _closed_forms(statement: Statement, names: Names, *, named: bool) -> list[str]:
    """Ways to ask whether it was said, in the user's voice; three or more.

    Args:
        statement: What was said, or wasn't.
        names: The people and places of the chat.
        named: Whether it begins with a name, and keeps its capital in the middle of a question.
    """

    def lowered(clause: str) -> str:
        return clause if named else english.uncapitalised(clause, names.common)

    if statement.form == "quote" or not statement.english:
        quoted = f'"{statement.text}"'
        if statement.role == "user":
            return [
                f"Did I say {quoted}?",
                f"Have I told you: {quoted}?",
                f"Did I mention {quoted}?",
            ]
        return [f"Did you say {quoted}?", f"Did you tell me: {quoted}?", f"Have you said {quoted}?"]
    if statement.role == "user":
        clause = lowered(statement.text)
        asked = english.as_question(clause)
        told = [f"Did I tell you that {clause}?", f"Have I mentioned that {clause}?"]
        return ([f"{asked}?"] if asked else []) + told + [f"Did I say that {clause}?"]
    mine = english.exchanged(statement.text)
    if statement.form == "clause":
        clause = lowered(mine)
        frames = ("Did you tell me", "Did you say", "Have you told me")
        return [f"{frame} that {clause}?" for frame in frames]
    clause = english.uncapitalised(mine, names.common)
    negative, word = (
        ("not to", clause.split()[0]) if clause[:5] in ("don't", "never") else ("to", "")
    )
    action = clause[len(word) :].strip()
    return [
        f"Did you advise me {negative} {action}?",
        f"Did you tell me {negative} {action}?",
        f"Was it your advice {negative} {action}?",
    ]


def topic_forms(topic: Topic, role: str) -> list[str]:
    """The forms of `_closed_forms` for something never said."""
    if role == "assistant":
        return [f"Did you advise me about {topic.about}?", f"Did you tell me about {topic.about}?"]
    asked = english.as_question(topic.claim)
    forms = [
        f"Did I tell you that {topic.claim}?",
        f"Did I tell you about {topic.about}?",
        f"Have I mentioned that {topic.claim}?",
    ]
    return ([f"{asked}?"] if asked else []) + forms


def _rotated(forms: list[str], number: int) -> list[str]:
    turn = number % len(forms)
    return forms[turn:] + forms[:turn]


def _unasked(subjects: list[str], asked: set[str]) -> str | None:
    """A subject no other statement is asked about by; two together if each is taken.

    One open question with two answers would teach neither.
    """
    pairs = [f"{one} and {other}" for one in subjects[:4] for other in subjects[:4] if one != other]
    for subject in subjects[:3] + pairs:
        if normalised(subject) not in asked:
            asked.add(normalised(subject))
            return subject
    return None


def told_back(statement: Statement) -> str:
    """The statement told to the user: from "I own a bakery" to "You own a bakery".

    What can't be put in the second person is quoted: `You said: "..."`. What the assistant said
    stays in its own voice: "I told you: take a nap." What it can't be understood without stands
    before it.
    """
    if statement.after is not None:
        before, alone = told_back(statement.after), replace(statement, after=None)
        if statement.role == "assistant":
            return f"{before} {english.capitalised(statement.text)}."
        return f"{before} {told_back(alone)}"
    if statement.role == "assistant":
        return f"I told you: {statement.text}."
    if statement.form == "quote" or not statement.english:
        return f'You said: "{statement.text}".'
    return english.capitalised(english.exchanged(statement.text, we=True)) + "."


def _claimed(topic: Topic) -> str:
    """What a topic would have been told back as, had it been raised."""
    return english.capitalised(english.exchanged(topic.claim, we=True)) + "."
