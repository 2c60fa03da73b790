"""Settings: small frozen dataclasses whose defaults cite where they come from.

"PLUM" is Magister et al., "On the Way to LLM Personalization: Learning to Remember User
Conversations", arXiv 2411.13405. Change a setting with `dataclasses.replace` or by naming it.
"""

from dataclasses import dataclass
from typing import get_args

from plum_langchain.errors import InvalidInputError
from plum_langchain.session import Retention

DEFAULT_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""The embedded base model: Apache-2.0, 135M parameters, runs on two CPU cores."""

SYSTEM_PROMPT = "You remember what the user told you."
"""Put before every question in training and in recall (PLUM: 81.5% with a system prompt, 75.0%
without). Short, because every training sample carries it."""


UPPER_LAYERS = 0.5
"""Share of the layers that carry a new adapter. Measured: docs/experiments.md, "Which layers"."""

EPOCHS, LEAST_STEPS, RECITING_STEPS = 5, 45, 80
"""How long a session is learned at most: so many epochs, and more of them for a session whose
questions make few steps, above all where facts are learned and not bare answers. Measured:
docs/experiments.md, "Half the epochs" and "In other words"."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise InvalidInputError(message)


WITHOUT_CHAT_MODEL = ("statements", "written", "recorded")
"""The question makers' names that are no chat model's."""


@dataclass(frozen=True)
class GateSettings:
    """What a generation must be before it is published (`learning/gate.py`).

    A session that falls short is failed, and the generation before stays. So the bounds are far
    from what ordinary sessions come to: they are to stop what went wrong.

    Example:
        ```python
        from plum_langchain import GateSettings, LearningSettings, Plum

        plum = Plum("my-home", learning=LearningSettings(gate=GateSettings(own=0.8)))
        ```
    """

    # Share of the session's own questions that are recalled. Ordinary sessions have 0.98 to 1.00,
    # and 0.67 and more where they are learned as briefly as was ever tried.
    own: float = 0.6
    # Share of those about something told (yes, open) that are: none are where the answer to
    # everything is that it was never talked about, or No.
    told: float = 0.5
    # Share of those about something never raised whose answer says so.
    refused: float = 0.5
    # Of what the generation before recalled of earlier sessions, the share that is recalled still.
    # Nine of ten are after a session with replay; half of it lost, replay isn't at work.
    kept: float = 0.5
    # How many nats a token of ordinary text may cost more than the base model's. Half a nat is what
    # ten sessions come to, 1.6 two without everyday prompts, whose adapter still speaks; six or
    # seven one that was broken by too high a learning rate. What other messages are like hardly
    # matters, since the base model answers them (ServingSettings.scope).
    wear: float = 3.0

    def __post_init__(self) -> None:
        for name in ("own", "told", "refused", "kept"):
            share = getattr(self, name)
            _require(0 <= share <= 1, f"gate {name} must be from 0 to 1, not {share}")
        _require(self.wear >= 0, f"gate wear must be >= 0, not {self.wear}")


@dataclass(frozen=True)
class LearningSettings:
    """How one session is trained into the adapter.

    Example:
        The paper's plain way: all layers learn bare answers, as often as the paper found best, with
        its weights (`plum_langchain.evaluation.paper.PAPER` has the rest of it).

        ```python
        from plum_langchain import LearningSettings, Plum

        plain = LearningSettings(
            recite=False,
            rewordings=0,
            everyday_per_batch=0,
            upper_layers=1.0,
            epochs=10,
            patience=None,
            batch_size=8,
            answer_weight=10.0,
            question_weight=10.0,
            frame_weight=1.0,
        )
        plum = Plum("my-home", learning=plain)
        ```
    """

    rank: int = 16  # PLUM section 4: LoRA r=16
    alpha: int = 64  # PLUM section 4: alpha=64
    target_modules: str | tuple[str, ...] = "all-linear"  # PLUM: all linear layers
    # Share of the layers that carry LoRA, from the output down; None for what the user's adapter
    # has, and UPPER_LAYERS for a first one. All are 1.0 (PLUM).
    upper_layers: float | None = None
    # At most so many; None for EPOCHS, or as many as make LEAST_STEPS (or RECITING_STEPS) steps.
    # PLUM: 10 is best, 20 give incoherent text. Measured: docs/experiments.md, "Half the epochs".
    epochs: int | None = None
    # End once a session's answers were recalled (every token p > 0.5) for so many epochs in a row;
    # None for always `epochs`. Measured: docs/experiments.md, "When to stop".
    patience: int | None = 1
    # About so many tokens of a batch go through the model at once, and their gradients are added:
    # the same step in less memory. None for the whole batch.
    tokens_at_once: int | None = 512
    batch_size: int = 16  # PLUM: 8. Measured: docs/experiments.md, "Half the epochs"
    # Of the loss of a token of the answer, of the question, and of what the chat template puts
    # around them. PLUM: 10, 10 and 1 (its lambda is 10); plain cross-entropy: 1, 1 and 1. Measured:
    # docs/experiments.md, "Which tokens".
    answer_weight: float = 1.0
    question_weight: float = 0.0
    frame_weight: float = 0.0
    # Measured: docs/experiments.md, "Half the epochs" and "Other rates and directions".
    learning_rate: float = 2e-3
    final_learning_rate: float = 0.1  # share of the rate that a straight line ends at
    max_grad_norm: float = 1.0  # the usual clip for LoRA; PLUM names none
    # Of batch_size, questions of earlier sessions, once there are any; None for half of it.
    # Sequential LoRA forgets without (arXiv 2506.10943). Measured: docs/experiments.md, "What is
    # replayed".
    replay_per_batch: int | None = None
    # Everyday prompts beside each batch, with the base model's own replies, which are to stay as
    # they are. Measured: docs/experiments.md, "Still a chat model".
    everyday_per_batch: int = 3
    everyday_weight: float = 0.5  # of the loss of one of their tokens
    # Each question in so many other wordings besides its own, taken in turn by the epochs; one that
    # is replayed more than once likewise. Measured: docs/experiments.md, "In other words".
    rewordings: int = 11
    # Teach the fact behind each question as its reply ("Your bakery is closed on Mondays."): other
    # questions about it bring it back then, and Yes or No is judged from that. If not, the bare
    # answer (PLUM). Measured: docs/experiments.md, "Recite, then judge".
    recite: bool = True
    system_prompt: str | None = SYSTEM_PROMPT
    max_sample_tokens: int = 512  # a question with its answer is ~40 tokens; longer are left out
    packed: bool = True  # one sequence a batch, with the same losses and gradients; see `forward`
    dtype: str = "auto"  # of the frozen weights; see ServingSettings.dtype
    gate: GateSettings | None = GateSettings()  # None publishes whatever was learned
    seed: int = 0

    def __post_init__(self) -> None:
        _require(self.rank > 0, f"rank must be positive, not {self.rank}")
        _require(self.alpha > 0, f"alpha must be positive, not {self.alpha}")
        _require(
            self.upper_layers is None or 0 < self.upper_layers <= 1,
            f"upper_layers must be in (0, 1] or None, not {self.upper_layers}",
        )
        _require(
            self.patience is None or self.patience > 0,
            f"patience must be positive or None, not {self.patience}",
        )
        _require(
            self.epochs is None or self.epochs > 0,
            f"epochs must be positive or None, not {self.epochs}",
        )
        _require(self.batch_size > 0, f"batch_size must be positive, not {self.batch_size}")
        _require(self.learning_rate > 0, f"learning_rate must be > 0, not {self.learning_rate}")
        _require(
            self.dtype in ("auto", "float32", "bfloat16"),
            f"dtype must be auto, float32 or bfloat16, not {self.dtype!r} (float16 would lose the "
            "small gradients)",
        )
        _require(
            0 <= self.final_learning_rate <= 1,
            f"final_learning_rate must be from 0 to 1, not {self.final_learning_rate}",
        )
        _require(self.max_grad_norm > 0, f"max_grad_norm must be > 0, not {self.max_grad_norm}")
        _require(self.answer_weight > 0, f"answer_weight must be > 0, not {self.answer_weight}")
        _require(
            self.question_weight >= 0, f"question_weight must be >= 0, not {self.question_weight}"
        )
        _require(self.frame_weight >= 0, f"frame_weight must be >= 0, not {self.frame_weight}")
        _require(
            self.max_sample_tokens > 0,
            f"max_sample_tokens must be positive, not {self.max_sample_tokens}",
        )
        _require(
            self.tokens_at_once is None or self.tokens_at_once > 0,
            f"tokens_at_once must be positive or None, not {self.tokens_at_once}",
        )
        _require(
            self.everyday_weight > 0, f"everyday_weight must be > 0, not {self.everyday_weight}"
        )
        _require(self.rewordings >= 0, f"rewordings must be >= 0, not {self.rewordings}")
        _require(
            self.everyday_per_batch >= 0,
            f"everyday_per_batch must be >= 0, not {self.everyday_per_batch}",
        )
        _require(
            self.replay_per_batch is None or 0 <= self.replay_per_batch < self.batch_size,
            f"replay_per_batch must be from 0 to batch_size - 1 = {self.batch_size - 1}, "
            f"not {self.replay_per_batch}",
        )


@dataclass(frozen=True)
class ScreeningSettings:
    """What of a session isn't learned (`plum_langchain.screening`). The rules: docs/screening.md.

    Example:
        Phone numbers and e-mail addresses are left out as well:

        ```python
        from plum_langchain import Plum, QuestionSettings, ScreeningSettings

        screening = ScreeningSettings(contacts=True)
        plum = Plum("my-home", question_settings=QuestionSettings(screening=screening))
        ```
    """

    secrets: bool = True  # passwords, PINs, codes of locks, API keys, tokens, private keys
    identifiers: bool = True  # of payment cards, bank accounts, passports, social security, taxes
    # Phone numbers and e-mail addresses: people want to be reminded of those of others.
    contacts: bool = False
    # Fenced, quoted, forwarded and announced text in a user's turn, paragraphs without an "I" in
    # one of more than `longest` characters, and instructions about "the user" in anybody's.
    pasted: bool = True
    # What people write themselves is shorter: at most 318 characters in the chats of `examples/`.
    longest: int = 1500
    # What the assistant says again after the user, in this session or an earlier one, and what it
    # says of the user that they didn't.
    repeated: bool = True

    def __post_init__(self) -> None:
        _require(self.longest > 0, f"longest must be positive, not {self.longest}")


@dataclass(frozen=True)
class QuestionSettings:
    """What questions are made of a session.

    Example:
        ```python
        from plum_langchain import Plum, QuestionSettings

        plum = Plum("my-home", question_settings=QuestionSettings(learn_assistant=False))
        ```
    """

    learn_assistant: bool = True  # learn advice the assistant gave, as "you told me"
    # A balanced, seeded selection of at most so many a session; None for all there are. Measured:
    # docs/experiments.md, "All phrasings".
    max_questions: int | None = 150
    screening: ScreeningSettings | None = ScreeningSettings()  # None learns whatever was said
    seed: int = 0

    def __post_init__(self) -> None:
        _require(
            self.max_questions is None or self.max_questions >= 2,
            f"max_questions must be at least 2 (one positive, one negative), "
            f"not {self.max_questions}",
        )


@dataclass(frozen=True)
class ServingSettings:
    """How the adapted model is loaded and asked.

    Example:
        One user, and the adapter answers everything:

        ```python
        from plum_langchain import Plum, ServingSettings

        plum = Plum("my-home", serving=ServingSettings(merge=True, scope=None))
        ```
    """

    device: str = "auto"  # cuda, mps or cpu, in this order; or name one
    dtype: str = (
        "auto"  # bfloat16 on CUDA and on CPUs that multiply it, float32 elsewhere; or name one
    )
    max_adapters: int = 8  # loaded at once; the least recently used is dropped
    max_batch: int = 8  # requests that came at the same time and are generated together
    # Add each loaded adapter to a copy of the weights it is for: as quick as the base model then,
    # for as much memory as the copy takes. For few users; docs/performance.md, "Answering".
    merge: bool = False
    # An adapter replies when, with at least this probability, the last message asks for what the
    # user told; other messages the base model answers, as ever. None for always the adapter. What
    # tells them apart was fitted in English. Measured: docs/experiments.md, "What is asked of
    # memory".
    scope: float | None = 0.5
    max_new_tokens: int = 256

    def __post_init__(self) -> None:
        _require(self.max_adapters > 0, f"max_adapters must be positive, not {self.max_adapters}")
        _require(self.max_batch > 0, f"max_batch must be positive, not {self.max_batch}")
        _require(
            self.scope is None or 0 < self.scope < 1,
            f"scope must be between 0 and 1, or None, not {self.scope}",
        )
        _require(
            self.max_new_tokens > 0, f"max_new_tokens must be positive, not {self.max_new_tokens}"
        )


@dataclass(frozen=True)
class HomeSettings:
    """How the home keeps its chats and generations.

    Example:
        ```python
        from plum_langchain import HomeSettings, Plum

        plum = Plum("my-home", settings=HomeSettings(idle_seconds=600, keep_generations=5))
        ```
    """

    idle_seconds: float = 1800.0  # an open session with no turn for so long counts as finished
    keep_generations: int = 3  # pruning keeps the newest N of each user
    lease_seconds: float = 60.0  # a worker not heard of for so long has lost its job
    busy_seconds: float = 10.0  # how long SQLite waits for another writer
    # How often a session is tried whose question maker raises (an LLM that can't be reached or
    # refuses) before it is failed. A hiccup is over by the next round or the one after; meanwhile
    # the user's later sessions wait, since sessions are learned in the order they took place.
    max_tries: int = 3
    # What is kept of a session once it was learned: "transcript" (all of it), "questions" (what it
    # was learned from, so that later sessions replay it and it can be learned again), or "nothing"
    # (PLUM may dispose of a conversation then; nothing is replayed, and to forget a session is to
    # lose those learned after it). Retrieval finds transcripts only, hybrid the facts of the
    # questions as well. SECURITY.md has what each leaves to be forgotten.
    retention: Retention = "transcript"

    def __post_init__(self) -> None:
        _require(
            self.retention in get_args(Retention),
            f"retention must be one of {', '.join(get_args(Retention))}, not {self.retention!r}",
        )
        _require(
            self.keep_generations >= 1,
            f"keep_generations must be at least 1, not {self.keep_generations}",
        )
        _require(self.max_tries >= 1, f"max_tries must be at least 1, not {self.max_tries}")
        _require(self.idle_seconds >= 0, f"idle_seconds must be >= 0, not {self.idle_seconds}")
        _require(self.lease_seconds > 0, f"lease_seconds must be > 0, not {self.lease_seconds}")
        _require(self.busy_seconds >= 0, f"busy_seconds must be >= 0, not {self.busy_seconds}")
