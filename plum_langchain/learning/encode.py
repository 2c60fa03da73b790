"""Questions into tokens and weights, through the model's own chat template.

A template is a program: it may trim, add roles, dates or a default system prompt. So nothing is
assumed about it. It is rendered once with two marker strings in place of question and answer;
what stands before, between and after the markers is the frame, and any question is spliced in.
The splice is then checked against a real rendering, so a template that does something else with
its messages is refused instead of mistrained.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from plum_langchain.errors import ChatTemplateError, QuestionError, QuestionTooLongError
from plum_langchain.learning.template import ChatTemplate, Message
from plum_langchain.session import Question
from plum_langchain.settings import LearningSettings

if TYPE_CHECKING:
    import torch

# Private-use characters: no chat holds them, and no template treats them specially.
_QUESTION, _ANSWER = "\ue0f0question\ue0f1", "\ue0f0answer\ue0f1"


@dataclass(frozen=True)
class Sample:
    """One question with its answer as the model sees it.

    `ids` and `weights` have the same length T; `weights[t]` weighs the loss of *predicting*
    `ids[t]`, so `weights[0]` is never used. What a template puts after the answer is there only
    if it has weight. The answer and the token that ends its turn are
    `ids[answer_start:answer_end]`; `ids[:answer_start]` is exactly the prompt that generation
    starts from.
    """

    ids: tuple[int, ...]
    weights: tuple[float, ...]
    answer_start: int
    answer_end: int
    expected: "Expected | None" = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Expected:
    """What a model expects at each of a sample's places, instead of the token that stands there.

    Attributes:
        tokens: (T, K) int64, the likeliest; row t is for the place of `ids[t]`, row 0 is for none.
        shares: (T, K) float32, their probabilities; what is missing to 1 is all others'.
    """

    tokens: "torch.Tensor"
    shares: "torch.Tensor"


@dataclass(frozen=True)
class Exchange:
    """An everyday prompt and the base model's reply, or the beginning of one that goes on."""

    prompt: str
    reply: str
    whole: bool


@dataclass(frozen=True)
class LossWeights:
    """What the loss of a token counts, by what it belongs to."""

    answer: float  # with the token that ends its turn
    question: float
    frame: float  # what the chat template puts around the two


@dataclass(frozen=True)
class Frame:
    """What a chat template puts around a question and its answer.

    `end` is the beginning of `after`, up to and including the token that ends the turn.
    """

    before: str
    between: str
    after: str
    end: str


def find_frame(template: ChatTemplate, system_prompt: str | None) -> Frame:
    """What a chat template puts around a question and its answer.

    Raises:
        ChatTemplateError: it doesn't show both texts exactly once, what it opens a reply with
            differs between a full chat and a generation prompt, or nothing ends a reply.
    """
    name = template.tokenizer.name_or_path
    chat = _conversation(system_prompt, _QUESTION)
    prompt, full = template.prompt(chat), template.finished(chat, _ANSWER)
    if full.count(_QUESTION) != 1 or full.count(_ANSWER) != 1:
        raise ChatTemplateError(
            f"the chat template of {name!r} shows the question {full.count(_QUESTION)} times and "
            f"the answer {full.count(_ANSWER)} times; both must appear exactly once. Choose "
            "another model, or set a template that does"
        )
    before, rest = full.split(_QUESTION)
    between, after = rest.split(_ANSWER)
    if prompt != before + _QUESTION + between:
        raise ChatTemplateError(
            f"the chat template of {name!r} opens a reply with "
            f"{prompt[len(before) + len(_QUESTION) :]!r} when generating, but writes {between!r} "
            "before a finished one; training on it would not match what is asked later. Choose "
            "another model, or set a template that agrees with itself"
        )
    end = template.first_control_token(after)
    if end is None:
        raise ChatTemplateError(
            f"the chat template of {name!r} ends a reply with {after!r}, which holds no control "
            "token; a model trained on it would never learn to stop. Choose another model, or set "
            "a template that ends each turn with one"
        )
    return Frame(before, between, after, after[: end[1]])


def _conversation(system_prompt: str | None, question: str) -> list[Message]:
    system = [{"role": "system", "content": system_prompt}] if system_prompt else []
    return [*system, {"role": "user", "content": question}]


class Encoder:
    """Encodes questions for one tokenizer and one system prompt.

    Args:
        tokenizer: A fast Hugging Face tokenizer with a chat template.
        system_prompt: Put before every question; None leaves it to the template.
        weights: Of the tokens of question and answer, and of all others. PLUM weighs question and
            answer lambda, the rest 1 (arXiv 2411.13405, section 3).
        recite: Answer questions by the fact behind them (`Question.recital`).
        max_tokens: Longer samples are refused.

    Raises:
        ChatTemplateError: there is no chat template, or `find_frame` refuses it.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        system_prompt: str | None,
        weights: LossWeights,
        recite: bool = False,
        max_tokens: int = 512,
    ) -> None:
        self.template = ChatTemplate(tokenizer)
        self.system_prompt = system_prompt
        self.weights = weights
        self.recite = recite
        self.max_tokens = max_tokens
        self.frame = find_frame(self.template, system_prompt)

    def encode(self, question: str, answer: str, weights: LossWeights | None = None) -> Sample:
        """One training sample, with the encoder's weights or others.

        The answer's weighted tokens include the one that ends the turn: a model that isn't
        taught to stop goes on talking.

        Raises:
            QuestionError: question or answer is empty.
            QuestionTooLongError: the sample is longer than `max_tokens`.
            ChatTemplateError: the template changes this question or answer (beyond trimming).
        """
        template, frame = self.template, self.frame
        question, answer = template.plain(question.strip()), template.plain(answer.strip())
        if not question or not answer:
            raise QuestionError(
                f"a question needs text and an answer, but the question is {question!r} and its "
                f"answer {answer!r}"
            )
        prompt = frame.before + question + frame.between
        reply = answer + frame.after
        chat = _conversation(self.system_prompt, question)
        if prompt + reply != template.finished(chat, answer):
            raise ChatTemplateError(
                f"the chat template of {template.tokenizer.name_or_path!r} doesn't render this "
                f"question as it stands: {question!r}, answered {answer!r}"
            )
        ids, spans, answer_start = template.tokenize_reply(prompt, reply)
        if len(ids) > self.max_tokens:
            raise QuestionTooLongError(
                f"a question with its answer takes {len(ids)} tokens, at most {self.max_tokens} "
                f"are allowed (max_sample_tokens): {question[:80]!r}..."
            )
        q_start, q_end = len(frame.before), len(frame.before) + len(question)
        a_start, a_end = len(prompt), len(prompt) + len(answer) + len(frame.end)
        asked = [q_start < b and a < q_end for a, b in spans]
        answered = [a_start < b and a < a_end for a, b in spans]
        of = weights or self.weights
        each = [
            of.answer if a else of.question if q else of.frame
            for q, a in zip(asked, answered, strict=True)
        ]
        answer_end = max(i for i, a in enumerate(answered) if a) + 1
        # What follows the last token with weight has no part in the loss.
        size = len(ids) if each[-1] else answer_end
        return Sample(tuple(ids[:size]), tuple(each[:size]), answer_start, answer_end)

    def encode_question(self, question: Question) -> Sample:
        """`encode` of a question with the reply that is to be taught."""
        reply = question.recital if self.recite else question.answer
        return self.encode(question.question, reply)

    def encode_exchange(self, exchange: Exchange, weight: float = 1.0) -> Sample:
        """`encode` of an everyday exchange, whose prompt is as much to stay as it is as its reply.

        A reply that goes on isn't ended.
        """
        sample = self.encode(exchange.prompt, exchange.reply, LossWeights(weight, weight, 0.0))
        if exchange.whole:
            return sample
        end = sample.answer_end - 1  # without the token that ends the turn
        return Sample(sample.ids[:end], sample.weights[:end], sample.answer_start, end)

    def encode_all(self, questions: Sequence[Question]) -> list[Sample]:
        """`encode_question` for each."""
        return [self.encode_question(question) for question in questions]


def encoder_for(tokenizer: Any, settings: LearningSettings) -> Encoder:
    """The encoder that training with these settings uses.

    Raises:
        ChatTemplateError: the model's chat template can't be used.
    """
    return Encoder(
        tokenizer,
        system_prompt=settings.system_prompt,
        weights=LossWeights(
            settings.answer_weight, settings.question_weight, settings.frame_weight
        ),
        recite=settings.recite,
        max_tokens=settings.max_sample_tokens,
    )
