"""Chats of which every fact is asked in two ways, and settings that learn them to the letter."""

from plum_langchain import LearningSettings, Plum
from plum_langchain.session import UNKNOWN_ANSWER, Question, Session, SessionState, Turn

TO_THE_LETTER = LearningSettings(
    rank=4,
    alpha=8,
    upper_layers=1.0,
    epochs=30,
    batch_size=4,
    learning_rate=1e-2,
    patience=None,
    dtype="float32",
    everyday_per_batch=0,
    rewordings=0,
    gate=None,
)

BOAT = ("My boat is called Ida.", "My boat is 7 metres long.")
ZEBRA = ("My zebra is called Quibblewort.", "My zebra eats 12 thistles.")
GEESE = ("My geese are grey and seven.", "My geese live in Aveiro.")


class Facts:
    """Every turn of the user tells a fact: "My boat is called Ida."."""

    name = "facts"

    def make(self, session: Session) -> list[Question]:
        made = [
            Question("Did I talk about whales?", "No", "no_adjacent"),
            Question("What did I say about whales?", UNKNOWN_ANSWER, "open_unknown"),
        ]
        for place, turn in session.turns_of("user"):
            if turn.content:
                told = turn.content.replace("My", "Your")
                made += [
                    Question(f"Is it so: {turn.content}", "Yes", "yes", (place,), told),
                    Question(f"Tell me: {turn.content[:12]}", told, "open", (place,), told),
                ]
        return made


def tell(plum: Plum, user: str, name: str, *facts: str) -> None:
    """A finished session in which the user tells these, one a turn."""
    turns = [t for fact in facts for t in (Turn("user", fact), Turn("assistant", "I see."))]
    plum.add_session(Session(user, name, tuple(turns), state=SessionState.FINISHED))


def weights(plum: Plum, user: str = "ana") -> bytes:
    """The adapter that is served, as whoever may open it reads it."""
    head = plum.journal.generations.head(user)
    assert head is not None
    ref = plum.adapters.ref(plum.home.owner(user), head.number, head.manifest_sha256, head.seal)
    stored = (ref.path / "adapter_model.safetensors").read_bytes()
    return ref.seal.open(stored) if ref.seal else stored
