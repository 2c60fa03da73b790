"""LoCoMo on a made-up dialogue of its form: what is read, learned from and asked."""

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from plum_langchain.errors import (
    BrokenRecordError,
    InvalidInputError,
    MissingFileError,
    QuestionError,
)
from plum_langchain.evaluation import Exam, compare
from plum_langchain.evaluation.compare import answer_of
from plum_langchain.evaluation.locomo import (
    CATEGORIES,
    ObservationQuestions,
    by_category,
    read_dialogues,
)
from plum_langchain.questions import QuestionMaker, StatementQuestions
from plum_langchain.questions.persons import told_of
from plum_langchain.questions.topics import THEMES
from plum_langchain.session import UNKNOWN_ANSWER, Turn
from plum_langchain.settings import QuestionSettings


def turn(session: int, number: int, speaker: str, text: str, **more: str) -> dict[str, str]:
    return {"speaker": speaker, "dia_id": f"D{session}:{number}", "text": text, **more}


def asked(question: str, category: int, evidence: list[str], answer: Any = None) -> dict[str, Any]:
    found = {"question": question, "category": category, "evidence": evidence}
    return found if answer is None else {**found, "answer": answer}


QA = [
    asked("What instrument does Ines play?", 4, ["D1:1"], "the cello"),
    asked("When did Ines move to Porto?", 2, ["D1:1"], 2019),
    asked("Which towns has Ines lived in?", 1, ["D1:1", "D2:2"], "Porto, Braga"),
    asked("Would Ines enjoy a concert?", 3, ["D2:2; D1:1"], "Yes; she plays herself"),
    asked("What does Ines's kite look like?", 5, ["D2:1"]),
    asked("What does Owen fly at the beach?", 4, ["D:2:1"], "a red kite"),
    asked("What do Ines and Owen plan together?", 4, ["D10:1"], "a picnic"),
    asked("What is repaired on Friday?", 4, ["D10:2"], "the tap"),
    asked("What is Ines like?", 3, [], "musical"),
]


def dialogue(**changes: Any) -> dict[str, Any]:
    return {
        "speaker_a": "Ines",
        "speaker_b": "Owen",
        # Not in order, and with a date of a session that never took place.
        "session_10_date_time": "12:05 am on 1 January, 2024",
        "session_10": [
            turn(10, 1, "Ines", "Shall we have that picnic on Sunday?"),
            turn(10, 2, "Owen", "Gladly. On Friday my tap is repaired."),
        ],
        "session_1_date_time": "3:15 pm on 2 March, 2021",
        "session_1": [
            turn(1, 1, "Ines", "I play the cello. I moved to Porto in 2019 with 3 cats."),
            turn(1, 2, "Owen", "I never learned an instrument, sadly."),
        ],
        "session_1_observation": {
            "Ines": [
                ["Ines plays the cello.", "D1:1"],
                ["Ines relocated to Porto in 2019 with three cats.", ["D1:1", "D1:2"]],
            ],
            "Owen": [["Owen never learned an instrument.", "D1:2"]],
        },
        "session_2_date_time": "9:00 am on 20 May, 2023",
        "session_2": [
            turn(2, 1, "Owen", "Look at this!", blip_caption="a photo of a red kite"),
            turn(2, 2, "Ines", "Lovely. I grew up in Braga, where everyone has one."),
        ],
        "session_3_date_time": "9:00 am on 21 May, 2023",
        "session_3": [],
        "session_4_date_time": "9:00 am on 22 May, 2023",
        "session_1_summary": "They talk.",
        "qa": QA,
        **changes,
    }


def write(path: Path, data: Any) -> Path:
    path.write_text(json.dumps(data), "utf-8")
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "26.json", dialogue())


def read(path: Path, **options: Any) -> Exam:
    (exam,) = read_dialogues([path], **options)
    return exam


# --- reading --------------------------------------------------------------------------------------


def test_one_speaker_is_the_user_and_the_other_the_assistant(file: Path) -> None:
    exam = read(file)
    assert exam.user_id == "26:Ines"
    assert [s.session_id for s in exam.sessions] == ["session_1", "session_2", "session_10"]
    assert [s.started for s in exam.sessions] == [
        datetime(2021, 3, 2, 15, 15, tzinfo=UTC),
        datetime(2023, 5, 20, 9, tzinfo=UTC),
        datetime(2024, 1, 1, 0, 5, tzinfo=UTC),
    ]
    assert {s.user_id for s in exam.sessions} == {"26:Ines"}
    second = exam.sessions[1]
    assert [(t.role, t.content) for t in second.turns] == [
        ("assistant", "Owen: Look at this!\nI shared a photo of a red kite."),
        ("user", "Ines: Lovely. I grew up in Braga, where everyone has one."),
    ]
    for speaker in ("second", "Owen"):
        other = read(file, speaker=speaker)
        assert other.user_id == "26:Owen"
        assert [t.role for t in other.sessions[1].turns] == ["user", "assistant"]


def test_questions_have_their_category_and_what_is_right(file: Path) -> None:
    exam = read(file)
    found = {q.question: (q.category, q.answer, q.kind, q.session_id) for q in exam.questions}
    assert found == {
        QA[0]["question"]: ("single-hop", "the cello", "open", "session_1"),
        QA[1]["question"]: ("temporal", "2019", "open", "session_1"),
        QA[2]["question"]: ("multi-hop", "Porto, Braga", "open", "session_2"),
        QA[3]["question"]: ("open-domain", "Yes", "open", "session_2"),
        QA[4]["question"]: ("adversarial", UNKNOWN_ANSWER, "open_unknown", "session_2"),
        QA[6]["question"]: ("single-hop", "a picnic", "open", "session_10"),
        QA[8]["question"]: ("open-domain", "musical", "open", "session_10"),
    }
    assert not any(question.closed for question in exam.questions)
    needs = {q.question: q.needs for q in exam.questions}
    assert needs[QA[0]["question"]] == ("session_1",)
    assert needs[QA[2]["question"]] == ("session_1", "session_2")
    assert needs[QA[8]["question"]] == ("session_1", "session_2", "session_10")


def test_questions_are_asked_whose_evidence_was_read(file: Path) -> None:
    first = read(file, max_sessions=1)
    assert [q.question for q in first.questions] == [QA[0]["question"], QA[1]["question"]]
    two = read(file, max_sessions=2)
    # All but those about the third session, and about the whole.
    assert {q.question for q in two.questions} == {q["question"] for q in QA[:5]}
    assert len(two.sessions) == 2


def test_evidence_that_cannot_be_found_is_the_whole_dialogue(tmp_path: Path) -> None:
    qa = [asked("Where does Ines live?", 4, ["D"], "Porto"), QA[0]]
    qa.append(asked("Where did Ines sing?", 4, ["D3:1"], "in Faro"))
    path = write(tmp_path / "26.json", dialogue(qa=qa))
    assert [q.session_id for q in read(path).questions] == ["session_10", "session_1", "session_10"]
    assert [q.question for q in read(path, max_sessions=2).questions] == [QA[0]["question"]]


def test_questions_about_the_other_speaker_are_the_callers_choice(file: Path) -> None:
    everything = [q.question for q in read(file, about="both").questions]
    assert everything == [q["question"] for q in QA]
    about_other = read(file, about="other")
    # One names Owen, the other nobody, and Owen's turn answers it.
    assert [(q.question, q.session_id) for q in about_other.questions] == [
        (QA[5]["question"], "session_2"),
        (QA[7]["question"], "session_10"),
    ]
    assert not {q.question for q in about_other.questions} & {
        q.question for q in read(file).questions
    }
    observed = {
        about: [(o["said_by"], o["turn"]) for o in session.material["observations"]]
        for about in ("user", "other", "both")
        for session in read(file, about=about).sessions[:1]
    }
    assert observed == {
        "user": [("user", 0), ("user", 0)],
        "other": [("assistant", 1)],
        "both": [("user", 0), ("user", 0), ("assistant", 1)],
    }


def test_questions_can_be_put_in_the_users_voice(file: Path) -> None:
    exam = read(file, about="both", voice="user")
    told = [q.question for q in exam.questions]
    assert told[0] == "What instrument do I play?"
    assert told[4] == "What does my kite look like?"
    assert told[5:8] == [q["question"] for q in QA[5:8]]  # about Owen, both, nobody
    assert exam.sessions[0].turns[0].content.startswith("I play the cello.")  # no name before it


def test_nothing_of_the_exam_is_in_what_is_learned(file: Path) -> None:
    exam = read(file, about="both")
    for session in exam.sessions:
        learned = json.dumps(asdict(session), default=str)
        assert not any(q.question in learned for q in exam.questions)
        assert set(session.material) == {"observations"}


def test_nothing_of_the_exam_is_in_the_questions_that_are_made(tmp_path: Path) -> None:
    """What is asked, what is right and who said where: none of it is said in the sessions here."""
    qa = [
        asked("Which zeppelin did Ines board in session_1?", 4, ["D1:1"], "the quagga"),
        asked("Did Owen sell a zeppelin?", 1, ["D1:2", "D2:1"], "quagga, zeppelin"),
        asked("Why did Ines paint the zeppelin?", 5, ["D1:1"]),
        *QA,
    ]
    noted = {
        "session_2_observation": {"Ines": [["Ines grew up in Braga.", "D2:2"]]},
        "session_10_observation": {"Owen": [["Owen has his tap repaired on Friday.", "D10:2"]]},
    }
    path = write(tmp_path / "26.json", dialogue(qa=qa, **noted))
    makers = {"benchmark": ObservationQuestions(ALL), "user": StatementQuestions(ALL)}
    for voice, maker in makers.items():
        exam = read(path, about="both", voice=voice)
        made = [q for session in exam.sessions for q in maker.make(session)]
        assert made
        texts = [text for q in made for text in (q.question, q.answer, q.statement or "")]
        learned = "\n".join(texts).casefold()
        assert not any(hidden in learned for hidden in ("zeppelin", "quagga"))
        assert not any(q["question"].casefold() in learned for q in qa)
        assert not any(q.question.casefold() in learned for q in exam.questions)


def test_the_published_file_and_directories_are_read_too(file: Path, tmp_path: Path) -> None:
    record = dialogue()
    noted = {key: record.pop(key) for key in list(record) if key.endswith("_observation")}
    qa = record.pop("qa")
    samples = [
        {"sample_id": f"conv-{n}", "conversation": record, "observation": noted, "qa": qa}
        for n in (1, 2)
    ]
    published = write(tmp_path / "samples.json", samples)
    exams = read_dialogues([published])
    assert [exam.user_id for exam in exams] == ["conv-1:Ines", "conv-2:Ines"]
    plain = read(file)
    assert exams[0].questions == plain.questions
    assert [s.material for s in exams[0].sessions] == [s.material for s in plain.sessions]
    assert {e.user_id for e in read_dialogues([tmp_path])} == {
        "26:Ines", "conv-1:Ines", "conv-2:Ines",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"speaker_b": None}, "speaker_b"),
        ({"qa": None}, "`qa`"),
        ({"qa": [{"question": "What?", "category": 7, "evidence": []}]}, r"qa\[0\]\.category"),
        ({"qa": [asked("Who is Ines?", 4, ["D1:1"])]}, "without an `answer`"),
        ({"session_1_date_time": "yesterday"}, "session_1_date_time.*'yesterday'"),
        ({"session_2": [{"speaker": "Owen", "dia_id": "D2:1"}]}, r"session_2\[0\]\.text"),
        ({"session_2": [turn(2, 1, "Zoe", "Hello")]}, "'Zoe'.*neither 'Ines' nor 'Owen'"),
        ({"session_1": [], "session_2": [], "session_10": []}, "holds no session"),
        ({"session_1_observation": {"Ines": [["Ines sings.", "D9:9"]]}}, "'D9:9'.*no turn"),
        ({"session_1_observation": ["Ines sings."]}, "session_1_observation"),
    ],
)
def test_what_is_no_dialogue_is_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], names: str
) -> None:
    path = write(tmp_path / "26.json", dialogue(**changes))
    with pytest.raises(BrokenRecordError, match=names) as error:
        read(path)
    assert str(path) in str(error.value)


def test_files_and_settings_that_cannot_be_used(file: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"nowhere\.json"):
        read(tmp_path / "nowhere.json")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(MissingFileError, match=r"no \.json file"):
        read(empty)
    with pytest.raises(BrokenRecordError, match="JSON"):
        broken = tmp_path / "broken.txt"
        broken.write_bytes(b"\xff{")
        read(broken)
    with pytest.raises(BrokenRecordError, match="sample 0: a str"):
        read(write(tmp_path / "list.txt", ["text"]))
    with pytest.raises(InvalidInputError, match="no dialogue"):
        read_dialogues([])
    with pytest.raises(InvalidInputError, match="there twice"):
        read_dialogues([file, file])
    with pytest.raises(InvalidInputError, match=r"'Zoe'.*'Ines' and 'Owen'"):
        read(file, speaker="Zoe")
    with pytest.raises(InvalidInputError, match="at least 1, not 0"):
        read(file, max_sessions=0)
    with pytest.raises(InvalidInputError, match="about must be one of"):
        read(file, about="nobody")
    with pytest.raises(InvalidInputError, match="voice must be one of"):
        read(file, voice="bass")
    with pytest.raises(InvalidInputError, match=r"no question.*1 of 3 sessions"):
        read(file, about="other", max_sessions=1)


# --- what is learned from -------------------------------------------------------------------------

ALL = QuestionSettings(max_questions=None)


def test_observations_are_asked_about_in_balance_and_told_back_as_they_stand(file: Path) -> None:
    maker = ObservationQuestions(ALL)
    assert isinstance(maker, QuestionMaker)
    made = maker.make(read(file).sessions[0])
    counted = Counter((q.closed, q.positive) for q in made)
    assert counted[True, True] == counted[True, False] > 0
    assert counted[False, True] == counted[False, False] > 0
    by_question = {q.question: q for q in made}
    told = by_question["Did I tell you that Ines plays the cello?"]
    dated = "Ines plays the cello (said on 02 March 2021)."
    assert (told.answer, told.statement, told.evidence) == ("Yes", dated, (0,))
    open_one = by_question["What do you know about Ines and the cello?"]
    assert open_one.answer == dated
    assert {q.statement for q in made if q.statement} == {
        dated, "Ines relocated to Porto in 2019 with three cats (said on 02 March 2021).",
    }  # fmt: skip
    assert not any("said on" in q.question for q in made)
    assert made == maker.make(read(file).sessions[0])


def test_a_speaker_stays_who_they_are(file: Path) -> None:
    """Another value is put in for one of an observation's, and never another name."""
    made = ObservationQuestions(ALL).make(read(file).sessions[0])
    swapped = [q.question for q in made if q.kind == "no_same_slot"]
    assert swapped
    for question in swapped:
        assert "Ines" in question
        assert not ("2019" in question and "three" in question and "Porto" in question)


def test_what_only_an_observation_says_was_said(file: Path) -> None:
    (theme,) = [t for t in THEMES if any("orchids" in topic.claim for topic in t.topics)]
    noted = [
        {"statement": f"{told_of('Ines', topic.claim)}.", "said_by": "user", "name": "Ines",
         "turn": 0}
        for topic in theme.topics
    ]  # fmt: skip
    # The theme nearest to the chat, in which none of its topics is mentioned.
    turns = (Turn("user", " ".join(theme.cues)),)
    session = replace(read(file).sessions[0], turns=turns, material={"observations": noted})
    made = ObservationQuestions(ALL).make(session)
    denied = [q.question for q in made if q.kind in ("no_adjacent", "open_unknown")]
    assert denied
    for topic in theme.topics:
        assert not any(topic.about in question for question in denied), topic.about


def test_the_form_of_a_question_does_not_give_its_answer_away(file: Path) -> None:
    """What was never raised is asked about by name as well."""
    made = ObservationQuestions(ALL).make(read(file).sessions[0])
    for opening in ("Did I tell you that Ines", "What do you know about Ines and"):
        positive = {q.positive for q in made if q.question.startswith(opening)}
        assert positive == {True, False}, opening
    assert not any(re.search(r"\b(?:that I|my|we|our)\b", q.question) for q in made)
    assert "What did I tell you about Ines?" not in {q.question for q in made}


def test_the_other_speakers_observations_are_told_by_the_other(file: Path) -> None:
    session = read(file, about="both").sessions[0]
    told = "I told you: Owen never learned an instrument (said on 02 March 2021)."
    assert told in {q.statement for q in ObservationQuestions(ALL).make(session)}
    alone = ObservationQuestions(replace(ALL, learn_assistant=False)).make(session)
    assert told not in {q.statement for q in alone}


def test_observations_come_back_from_the_journal(file: Path, open_plum: Callable[..., Any]) -> None:
    plum = open_plum()
    for session in read(file, about="both").sessions:
        plum.add_session(session)
        (stored,) = [
            s for s in plum.journal.sessions.all("26:Ines") if s.session_id == session.session_id
        ]
        assert stored.material == session.material
        assert stored.started == session.started
    first = next(s for s in plum.journal.sessions.all("26:Ines") if s.session_id == "session_1")
    maker = ObservationQuestions(ALL)
    assert maker.make(first) == maker.make(read(file, about="both").sessions[0])


def test_without_observations_the_session_is_named(file: Path) -> None:
    bare = read(file).sessions[1]
    with pytest.raises(QuestionError, match="'session_2' came without observations"):
        ObservationQuestions().make(bare)
    wrong = replace(bare, material={"observations": [{"statement": "Ines sings."}]})
    with pytest.raises(QuestionError, match=r"observations\[0\].*'session_2'"):
        ObservationQuestions().make(wrong)


# --- arms -----------------------------------------------------------------------------------------


def test_the_arms_of_a_comparison_are_asked(file: Path, open_plum: Callable[..., Any]) -> None:
    exam = read(file)
    maker = ObservationQuestions()
    found = compare(open_plum(), [exam], arms=["floor"], questions=maker)
    assert [a.category for a in found.answers["floor"]] == [q.category for q in exam.questions]
    assert {a.category for a in found.answers["floor"]} == set(CATEGORIES.values())
    assert found.about["question_maker"] == "observations"
    assert by_category(found.answers["floor"])["all"].n == len(exam.questions) - 1


def test_every_session_with_evidence_is_context(file: Path, open_plum: Callable[..., Any]) -> None:
    plum = open_plum()
    exam = read(file)
    for session in exam.sessions:
        plum.add_session(session)
    multi_hop = next(q for q in exam.questions if q.category == "multi-hop")
    first, second = answer_of(plum, exam, exam.user_id, multi_hop, "context", closed=False).sources
    assert first.startswith("[02 March 2021]\nUser: Ines: I play the cello.")
    assert second.startswith("[20 May 2023]\nAssistant: Owen: Look at this!")
