"""LoCoMo's dialogues as exams: one speaker is the user, the other stands for the assistant.

A file holds one dialogue (`speaker_a`, `session_1`, `session_1_date_time`, ..., `qa`), or the
published list of samples, each with such a dialogue as its `conversation`. What is learned comes
from the sessions and their observations; the questions of `qa` go into the exam alone.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from plum_langchain.errors import BrokenRecordError, InvalidInputError, MissingFileError
from plum_langchain.evaluation.exam import Exam, ExamQuestion
from plum_langchain.evaluation.locomo.scores import CATEGORIES, right_answer
from plum_langchain.questions.facts import Text
from plum_langchain.questions.persons import asked_by
from plum_langchain.session import UNKNOWN_ANSWER, Session, SessionState, Turn

Whose = Literal["user", "other", "both"]
Voice = Literal["benchmark", "user"]
T = TypeVar("T")


class _Turn(BaseModel):
    speaker: str
    dia_id: str
    text: str
    blip_caption: str = ""


class _Asked(BaseModel):
    question: Text
    category: Literal[1, 2, 3, 4, 5]
    answer: str | int | float | None = None
    evidence: list[str] = Field(default_factory=list)


_NAME = TypeAdapter(Text)
_WHEN = TypeAdapter(str)
_TURNS = TypeAdapter(list[_Turn])
_QA = TypeAdapter(list[_Asked])
_NOTED = TypeAdapter(dict[str, list[tuple[Text, str | list[str]]]])

_SESSION = re.compile(r"session_(\d+)")
_TURN_ID = re.compile(r"D:?(\d+):(\d+)")  # "D2:2; D1:1" names two, "D:2:1" is D2:1
_WHEN_FORM = "%I:%M %p on %d %B, %Y"


def read_dialogues(
    paths: Sequence[Path],
    *,
    speaker: str = "first",
    max_sessions: int | None = None,
    about: Whose = "user",
    voice: Voice = "benchmark",
) -> list[Exam]:
    """The exams of dialogue files, one for each dialogue in them.

    A turn is its text, with what an image shows ("I shared a photo of ...") as the speaker's own
    words, since the benchmark gives its models the caption too. Of the questions those are kept
    whose evidence lies in the sessions that are read; one without evidence that can be found asks
    about the whole dialogue. Its session is the last that it needs.

    Args:
        paths: Files, or directories of them.
        speaker: Who is the user: "first" (`speaker_a`), "second" (`speaker_b`), or a name.
        max_sessions: Only the first so many of each dialogue.
        about: Whose questions are asked, and whose observations are there to learn from: those of
            the user, of the other speaker, or both. A question is of the one it names; if it names
            both it is the user's, and if it names nobody, of whoever tells the answer.
        voice: "benchmark": questions as the benchmark has them, which name the user ("When did Ana
            ...?"), about turns that begin with the name of who says them, as in its own prompts;
            else nothing that is retrieved would tell who Ana is. Made for `ObservationQuestions`:
            `StatementQuestions` would take the name for a part of the sentence. "user": questions
            as the user would ask ("When did I ...?"), save those that name the other speaker, and
            turns without names.

    Raises:
        MissingFileError: a path can't be read.
        BrokenRecordError: a file holds no dialogue; the message names the field.
        InvalidInputError: a setting that can't be used, nobody of that name, a dialogue twice, or
            no question left to ask.
    """
    if max_sessions is not None and max_sessions < 1:
        raise InvalidInputError(f"max_sessions must be at least 1, not {max_sessions}")
    for value, known, what in ((about, Whose, "about"), (voice, Voice, "voice")):
        if value not in get_args(known):
            raise InvalidInputError(f"{what} must be one of {get_args(known)}, not {value!r}")
    exams: list[Exam] = []
    for path in _files(paths):
        for where, name, record in _records(path):
            exam = _Dialogue(where, name, record, speaker).exam(max_sessions, about, voice)
            if any(other.user_id == exam.user_id for other in exams):
                raise InvalidInputError(
                    f"{where}: dialogue {name!r} is there twice; leave one of them out"
                )
            exams.append(exam)
    return exams


# --- files ----------------------------------------------------------------------------------------


def _files(paths: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        there = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not there:
            raise MissingFileError(f"{path} holds no .json file; name LoCoMo's dialogues")
        files += there
    if not files:
        raise InvalidInputError("no dialogue is named; give a file of LoCoMo's")
    return files


def _records(path: Path) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Each dialogue of a file: what to call it in errors, its name, and its record."""
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise MissingFileError(
            f"{path} can't be read ({error.strerror}); check the path"
        ) from error
    except (ValueError, RecursionError) as error:  # not UTF-8, or not JSON
        raise BrokenRecordError(
            f"{path}: can't be read as JSON ({error}); name one of LoCoMo's .json files"
        ) from error
    if not isinstance(data, list):
        yield str(path), path.stem, _dialogue(str(path), data)
        return
    for index, sample in enumerate(data):
        where = f"{path}, sample {index}"
        record = _dialogue(where, sample)
        yield where, str(sample.get("sample_id", f"{path.stem}-{index}")), record


def _dialogue(where: str, sample: Any) -> Mapping[str, Any]:
    """The dialogue with its questions and observations beside it, wherever the sample has them."""
    if not isinstance(sample, Mapping):
        raise BrokenRecordError(
            f"{where}: a {type(sample).__name__}, expected an object with speaker_a, speaker_b, "
            "session_1, ... and qa; name one of LoCoMo's files"
        )
    talk, noted = sample.get("conversation"), sample.get("observation")
    return {
        **sample,
        **(talk if isinstance(talk, Mapping) else {}),
        **(noted if isinstance(noted, Mapping) else {}),
    }


def _read(where: str, field: str, value: Any, schema: "TypeAdapter[T]") -> T:
    try:
        return schema.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in first["loc"])
        raise BrokenRecordError(
            f"{where}: `{field}{place}` is not as in LoCoMo's files: {first['msg']}; correct it"
        ) from error


# --- a dialogue -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Talk:
    """A session of a dialogue; `noted` are the observations about each speaker."""

    number: int
    turns: list[_Turn]
    when: datetime
    noted: dict[str, list[tuple[str, str | list[str]]]]


class _Dialogue:
    """One dialogue, read and checked, with one of its speakers chosen as the user."""

    def __init__(self, where: str, name: str, record: Mapping[str, Any], speaker: str) -> None:
        self.where = where
        self.name = name
        speakers = [
            _read(where, field, record.get(field), _NAME) for field in ("speaker_a", "speaker_b")
        ]
        self.user = {"first": speakers[0], "second": speakers[1]}.get(speaker, speaker)
        if self.user not in speakers:
            raise InvalidInputError(
                f"{where}: nobody is called {speaker!r}; the speakers are {speakers[0]!r} and "
                f"{speakers[1]!r}, or say first or second"
            )
        self.other = speakers[1] if self.user == speakers[0] else speakers[0]
        self.qa = _read(where, "qa", record.get("qa"), _QA)
        self.talks = self._talks(record)
        self.speaker_of = {t.dia_id: t.speaker for talk in self.talks for t in talk.turns}

    def exam(self, max_sessions: int | None, about: Whose, voice: Voice) -> Exam:
        talks = self.talks[:max_sessions]
        numbers = {talk.number for talk in talks}
        asked = tuple(
            self._asked(question, voice)
            for question in self.qa
            if self._needs(question) <= numbers
            and (about == "both" or self._about_user(question) == (about == "user"))
        )
        if not asked:
            raise InvalidInputError(
                f"{self.where}: no question of `qa` can be asked with {len(talks)} of "
                f"{len(self.talks)} sessions and about={about!r}; read more sessions, or about both"
            )
        sessions = tuple(self._session(talk, about, voice) for talk in talks)
        return Exam(self._user_id, sessions, asked)

    @property
    def _user_id(self) -> str:
        return f"{self.name}:{self.user}"  # two dialogues may have a John each

    def _talks(self, record: Mapping[str, Any]) -> list[_Talk]:
        """The sessions that took place, in order; dates without a session are in the data too."""
        talks = []
        for field, value in record.items():
            match = _SESSION.fullmatch(field)
            turns = _read(self.where, field, value, _TURNS) if match else []
            if not match or not turns:
                continue
            for index, turn in enumerate(turns):
                if turn.speaker not in (self.user, self.other):
                    raise BrokenRecordError(
                        f"{self.where}: `{field}[{index}]` is said by {turn.speaker!r}, who is "
                        f"neither {self.user!r} nor {self.other!r}; correct it"
                    )
            noted = record.get(f"{field}_observation") or {}
            talks.append(
                _Talk(
                    number=int(match[1]),
                    turns=turns,
                    when=self._when(record, f"{field}_date_time"),
                    noted=_read(self.where, f"{field}_observation", noted, _NOTED),
                )
            )
        if not talks:
            raise BrokenRecordError(
                f"{self.where}: holds no session (`session_1`, `session_2`, ...), or only empty "
                "ones; name one of LoCoMo's files"
            )
        return sorted(talks, key=lambda talk: talk.number)

    def _when(self, record: Mapping[str, Any], field: str) -> datetime:
        """The data names no time zone; UTC is as good as any."""
        text = _read(self.where, field, record.get(field), _WHEN)
        try:
            return datetime.strptime(text, _WHEN_FORM).replace(tzinfo=UTC)
        except ValueError as error:
            raise BrokenRecordError(
                f"{self.where}: `{field}` is {text!r}, not a time like '3:15 pm on 2 March, 2021'; "
                "correct it"
            ) from error

    def _session(self, talk: _Talk, about: Whose, voice: Voice) -> Session:
        return Session(
            user_id=self._user_id,
            session_id=f"session_{talk.number}",
            turns=tuple(
                Turn("user" if turn.speaker == self.user else "assistant", _content(turn, voice))
                for turn in talk.turns
            ),
            started=talk.when,
            state=SessionState.FINISHED,
            material={"observations": self._observations(talk, about)},
        )

    def _observations(self, talk: _Talk, about: Whose) -> list[dict[str, Any]]:
        places = {turn.dia_id: index for index, turn in enumerate(talk.turns)}
        found = []
        for person, role in ((self.user, "user"), (self.other, "assistant")):
            if about not in ("both", "user" if role == "user" else "other"):
                continue
            for statement, evidence in talk.noted.get(person, ()):
                told = [places[i] for i in _turn_ids(evidence) if i in places]
                if not told:
                    raise BrokenRecordError(
                        f"{self.where}: `session_{talk.number}_observation` of {person!r} names "
                        f"{evidence!r}, which is no turn of the session; correct it"
                    )
                found.append(
                    {"statement": statement, "said_by": role, "name": person, "turn": told[0]}
                )
        return found

    def _needs(self, asked: _Asked) -> set[int]:
        """The sessions without which a question can't be answered: all, where that isn't known."""
        numbers = {int(i[1:].partition(":")[0]) for i in _turn_ids(asked.evidence)}
        there = {talk.number for talk in self.talks}
        return numbers if numbers and numbers <= there else there

    def _about_user(self, asked: _Asked) -> bool:
        named = {who: _names(asked.question, who) for who in (self.user, self.other)}
        if any(named.values()):
            return named[self.user]
        told_by = {self.speaker_of.get(i) for i in _turn_ids(asked.evidence)} - {None}
        return self.user in told_by or not told_by

    def _asked(self, asked: _Asked, voice: Voice) -> ExamQuestion:
        category = CATEGORIES[asked.category]
        adversarial = category == "adversarial"
        answer = "" if asked.answer is None else right_answer(category, str(asked.answer)).strip()
        if not answer and not adversarial:
            raise BrokenRecordError(
                f"{self.where}: `qa` asks {asked.question!r} without an `answer`; add it, or "
                "category 5 if there is none"
            )
        needs = sorted(self._needs(asked))
        question = asked.question
        if voice == "user" and not _names(question, self.other):
            question = asked_by(self.user, question)
        return ExamQuestion(
            session_id=f"session_{max(needs)}",
            question=question,
            answer=UNKNOWN_ANSWER if adversarial else answer,
            kind="open_unknown" if adversarial else "open",
            category=category,
            needs=tuple(f"session_{number}" for number in needs),
        )


def _content(turn: _Turn, voice: Voice) -> str:
    text = f"{turn.text}\nI shared {turn.blip_caption}." if turn.blip_caption else turn.text
    return f"{turn.speaker}: {text}" if voice == "benchmark" else text


def _turn_ids(evidence: str | list[str]) -> list[str]:
    """The ids of turns that a piece of evidence names, however it is written."""
    texts = [evidence] if isinstance(evidence, str) else evidence
    return [f"D{session}:{turn}" for text in texts for session, turn in _TURN_ID.findall(text)]


def _names(question: str, person: str) -> bool:
    return re.search(rf"\b{re.escape(person)}\b", question) is not None
