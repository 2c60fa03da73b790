"""A session becomes balanced question-answer data: positives and negatives equal in number.

Three makers behind one protocol: `StatementQuestions` (from the chat's own sentences, no LLM; with
a writer, in the words that the base model finds for them as well), `LLMQuestions` (any LangChain
chat model), `RecordedQuestions` (what was recorded with the chat).
"""

from typing import TYPE_CHECKING

from plum_langchain.errors import InvalidInputError
from plum_langchain.questions.balance import balance
from plum_langchain.questions.llm import LLMQuestions
from plum_langchain.questions.maker import QuestionMaker, QuestionWriter
from plum_langchain.questions.recorded import RecordedQuestions
from plum_langchain.questions.statements import StatementQuestions
from plum_langchain.settings import QuestionSettings

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

__all__ = [
    "LLMQuestions",
    "QuestionMaker",
    "RecordedQuestions",
    "StatementQuestions",
    "balance",
    "question_maker",
]


def question_maker(
    name_or_maker: "str | QuestionMaker | BaseChatModel | None",
    settings: QuestionSettings | None = None,
    chat_model: "BaseChatModel | None" = None,
    writer: QuestionWriter | None = None,
) -> QuestionMaker:
    """A question maker from what a caller names it by.

    Args:
        name_or_maker: "statements", "written" (with `writer`), "recorded", "llm" (with
            `chat_model`), the name of a chat model as LangChain knows it ("openai:gpt-4o-mini"), a
            chat model, or a maker, which is returned as it is. None for "written" where the writer
            is shipped, "statements" elsewhere.
        settings: What to ask about; a maker that is given has its own.
        chat_model: Used instead of making one of the name.
        writer: Of the questions of "written", and by default.

    Raises:
        InvalidInputError: neither a maker nor a chat model that LangChain can make here.
    """
    if name_or_maker is None:
        return StatementQuestions(settings, writer=writer, teach=False)
    if name_or_maker == "statements":
        return StatementQuestions(settings)
    if name_or_maker == "written":
        if writer is None:
            raise InvalidInputError(
                "questions='written' needs a writer, and there is none here (a Plum has one of its "
                "base model); use 'statements' or 'recorded'"
            )
        return StatementQuestions(settings, writer=writer)
    if name_or_maker == "recorded":
        return RecordedQuestions(settings)
    # Named first, since whether it is a `QuestionMaker` is told by its `name`, which may have to
    # look for the base model.
    if isinstance(name_or_maker, StatementQuestions | QuestionMaker):
        return name_or_maker
    if chat_model is not None:
        return LLMQuestions(chat_model, settings=settings)
    if isinstance(name_or_maker, str):
        return LLMQuestions(_chat_model(name_or_maker), settings=settings)
    if hasattr(name_or_maker, "invoke"):
        return LLMQuestions(name_or_maker, settings=settings)
    raise InvalidInputError(
        f"questions can't be made by a {type(name_or_maker).__name__}; give 'statements', "
        "'written', 'recorded', the name of a chat model, a chat model, or an object with `name` "
        "and `make`"
    )


def _chat_model(name: str) -> "BaseChatModel":
    from langchain.chat_models import init_chat_model

    remedy = (
        "use 'statements', 'written' or 'recorded', which need no chat model, or provider:model, "
        "e.g. 'openai:gpt-4o-mini', with the provider's package installed and its key set"
    )
    if not name.strip() or name == "llm":
        raise InvalidInputError(f"questions={name!r} names no chat model; {remedy}")
    try:
        return init_chat_model(name)
    except Exception as error:  # each provider has its own: no package, no key, no such model
        why = " ".join(str(error).split())
        raise InvalidInputError(
            f"questions={name!r}: LangChain can't make a chat model of it ({why}); {remedy}"
        ) from error
