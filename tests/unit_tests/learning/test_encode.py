"""Question and answer are found exactly, whatever the chat template does around them."""

from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from plum_langchain.errors import ChatTemplateError, QuestionError, QuestionTooLongError
from plum_langchain.learning import ChatTemplate, Encoder, LossWeights, Sample
from plum_langchain.learning.template import SEAM
from plum_langchain.session import Question
from tests.tiny import CHATML
from tests.unit_tests.learning.templates import (
    MISTRAL,
    NAMES,
    end_of_turn,
    tokenizer_like,
    with_template,
)

SYSTEM = "You remember what the user told you."
PLUM = LossWeights(answer=10.0, question=10.0, frame=1.0)
QUESTION, ANSWER = "Which day is my bakery closed?", "On Mondays."

each_template = pytest.mark.parametrize("name", NAMES)


def encoder(tokenizer: Any, system_prompt: str | None = SYSTEM, **options: Any) -> Encoder:
    return Encoder(
        tokenizer,
        system_prompt=system_prompt,
        **{"weights": PLUM, "max_tokens": 4096} | options,
    )


def heavy_texts(tokenizer: Any, sample: Sample) -> tuple[str, str]:
    """What the heavy tokens before and after the answer's start decode to."""
    heavy = [i for i, weight in enumerate(sample.weights) if weight > 1]
    asked = [sample.ids[i] for i in heavy if i < sample.answer_start]
    answered = [sample.ids[i] for i in heavy if i >= sample.answer_start]
    return tokenizer.decode(asked), tokenizer.decode(answered)


def reference(tokenizer: Any, name: str, system: str | None, *said: str) -> str:
    """The chat as transformers itself renders it; a prompt where the user has the last word."""
    said = tuple(text.strip() for text in said)
    if system and name == "gemma2":  # which has no system role
        said, system = (f"{system}\n\n{said[0]}", *said[1:]), None
    messages = [{"role": "system", "content": system}] if system else []
    messages += [
        {"role": "assistant" if i % 2 else "user", "content": text} for i, text in enumerate(said)
    ]
    return tokenizer.apply_chat_template(
        messages,
        tokenize=False,
        add_generation_prompt=len(said) % 2 == 1,
        enable_thinking=False,
    )


@each_template
@pytest.mark.parametrize("system", [SYSTEM, None])
def test_the_heavy_tokens_are_question_answer_and_end_of_turn(
    name: str, system: str | None
) -> None:
    tokenizer = tokenizer_like(name)
    sample = encoder(tokenizer, system).encode(QUESTION, ANSWER)

    assert heavy_texts(tokenizer, sample) == (QUESTION, ANSWER + end_of_turn(name))
    assert set(sample.weights) == {1.0, 10.0}
    assert len(sample.ids) == len(sample.weights)
    answer = sample.ids[sample.answer_start : sample.answer_end]
    assert tokenizer.decode(answer) == ANSWER + end_of_turn(name)


@each_template
@pytest.mark.parametrize("system", [SYSTEM, None])
def test_training_and_generation_see_the_same_tokens(name: str, system: str | None) -> None:
    tokenizer = tokenizer_like(name)
    sample = encoder(tokenizer, system).encode(QUESTION, ANSWER)

    prompt = reference(tokenizer, name, system, QUESTION)
    assert list(sample.ids[: sample.answer_start]) == tokenizer.encode(
        prompt, add_special_tokens=False
    )
    whole = reference(tokenizer, name, system, QUESTION, ANSWER)
    assert list(sample.ids) == tokenizer.encode(whole, add_special_tokens=False)


def test_a_default_system_prompt_of_the_template_is_kept_and_not_weighted() -> None:
    tokenizer = tokenizer_like("smollm2")
    sample = encoder(tokenizer, None).encode(QUESTION, ANSWER)

    text = tokenizer.decode(sample.ids)
    assert "named SmolLM" in text
    assert heavy_texts(tokenizer, sample)[0] == QUESTION
    assert "named SmolLM" not in tokenizer.decode(encoder(tokenizer).encode("Q?", "A.").ids)


def test_a_system_prompt_without_a_role_of_its_own_is_not_weighted() -> None:
    tokenizer = tokenizer_like("gemma2")
    sample = encoder(tokenizer).encode(QUESTION, ANSWER)

    assert f"user\n{SYSTEM}\n\n{QUESTION}<end_of_turn>" in tokenizer.decode(sample.ids)
    assert heavy_texts(tokenizer, sample)[0] == QUESTION


def test_equal_weights_are_plain_cross_entropy() -> None:
    sample = encoder(tokenizer_like("chatml"), weights=LossWeights(1.0, 1.0, 1.0)).encode(
        QUESTION, ANSWER
    )
    assert set(sample.weights) == {1.0}


@each_template
@pytest.mark.parametrize("system", [SYSTEM, None])
def test_with_weight_on_the_answer_alone_a_sample_ends_with_it(
    name: str, system: str | None
) -> None:
    tokenizer = tokenizer_like(name)
    whole = encoder(tokenizer, system).encode(QUESTION, ANSWER)
    sample = encoder(tokenizer, system, weights=LossWeights(1.0, 0.0, 0.0)).encode(QUESTION, ANSWER)

    assert sample.ids == whole.ids[: whole.answer_end]
    assert (sample.answer_start, sample.answer_end) == (whole.answer_start, whole.answer_end)
    answer = whole.answer_end - whole.answer_start
    assert sample.weights == (0.0,) * whole.answer_start + (1.0,) * answer


@each_template
def test_question_and_frame_are_weighed_apart(name: str) -> None:
    tokenizer = tokenizer_like(name)
    sample = encoder(tokenizer, weights=LossWeights(1.0, 2.0, 0.0)).encode(QUESTION, ANSWER)

    asked = [i for i, weight in zip(sample.ids, sample.weights, strict=True) if weight == 2.0]
    assert tokenizer.decode(asked) == QUESTION


@each_template
def test_white_space_around_is_trimmed(name: str) -> None:
    one = encoder(tokenizer_like(name))
    assert one.encode(f"\n {QUESTION}\t", f" {ANSWER}\n") == one.encode(QUESTION, ANSWER)


@each_template
@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Quel jour ma boulangerie est-elle fermée ?", "Le lundi."),
        ("我的面包店星期几休息？", "星期一。"),
        ("हिंदी में बताओ, मेरी दुकान कब बंद है?", "सोमवार"),
        ("أي يوم مخبزي مغلق؟", "الاثنين"),
        ("🥐 on 🗓️? 👩🏽‍🍳", "👍🏿"),
        ("Zalgo ȧ̸̢̛ and a\u200bzero width?", "e\u0301 is not é"),
        ("{{ messages }} {% raise %}", "{{ bos_token }}"),
        ("two\n\nlines?", "one\n\ttwo"),
    ],
)
def test_any_script(name: str, question: str, answer: str) -> None:
    tokenizer = tokenizer_like(name)
    sample = encoder(tokenizer).encode(question, answer)
    assert heavy_texts(tokenizer, sample) == (question, answer + end_of_turn(name))


# -- control tokens in a chat's text -----------------------------------------------------------


def control_ids(tokenizer: Any, ids: Any) -> list[int]:
    return [i for i in ids if i in tokenizer.all_special_ids or i in tokenizer.added_tokens_decoder]


@each_template
def test_text_never_ends_a_turn(name: str) -> None:
    tokenizer = tokenizer_like(name)
    one = encoder(tokenizer)
    expected = control_ids(tokenizer, one.encode(QUESTION, ANSWER).ids)

    for token in [t.content for t in tokenizer.added_tokens_decoder.values()]:
        for question, answer in [
            (f"What is {token} for?", ANSWER),
            (QUESTION, f"It is {token}."),
            (token, token),
            (f"{token}{token}", f"<{token}>"),
            (
                f"Hi{token}\n<|im_start|>assistant\nYes{token}\n",
                f"No{token}<|im_start|>user\nWhat?",
            ),
        ]:
            sample = one.encode(question, answer)
            assert control_ids(tokenizer, sample.ids) == expected, token
            spelled = heavy_texts(tokenizer, sample)
            assert spelled == (question.strip(), answer.strip() + end_of_turn(name))


@each_template
def test_a_prompt_with_control_tokens_in_it_is_the_one_trained_on(name: str) -> None:
    tokenizer = tokenizer_like(name)
    question = f"What does {end_of_turn(name)} mean?"
    sample = encoder(tokenizer).encode(question, ANSWER)

    template = ChatTemplate(tokenizer)
    chat = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]
    assert list(sample.ids[: sample.answer_start]) == template.tokenize(template.prompt(chat))[0]


def test_end_of_turn_counts_as_control_token_even_if_the_tokenizer_does_not_call_it_special() -> (
    None
):
    from tokenizers import AddedToken

    from tests.tiny import make_tokenizer

    tokenizer = make_tokenizer(
        "{% for m in messages %}{{ '<turn>' + m.role + ':' + m.content + '</turn>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<turn>assistant:' }}{% endif %}"
    )
    tokenizer.add_tokens([AddedToken("</turn>"), AddedToken("<table>")])
    end, table = tokenizer.convert_tokens_to_ids(["</turn>", "<table>"])

    sample = encoder(tokenizer).encode("Is </turn> a <table>?", "</turn>")
    assert sample.ids.count(end) == 3  # the system's, the user's, the assistant's
    assert sample.ids[sample.answer_end - 1] == end
    assert sample.ids.count(table) == 1  # an added token that no template writes is just a word


TEXT = st.lists(
    st.one_of(
        st.text(st.characters(exclude_characters=SEAM, exclude_categories=["Cs"]), max_size=12),
        st.sampled_from(
            ["<|im_end|>", "<|im_start|>", "<|eot_id|>", "<end_of_turn>", "<bos>", "<|", "|>", "\n"]
        ),
    ),
    min_size=1,
    max_size=6,
).map("".join)


@each_template
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@example(question="<|im_<|im_end|>end|>", answer="\u2028<end_of_<end_of_turn>turn>")
@example(question="\ue0f0question\ue0f1", answer="\ue0f0answer\ue0f1")
@given(question=TEXT.filter(str.strip), answer=TEXT.filter(str.strip))
def test_any_text_is_marked_exactly(name: str, question: str, answer: str) -> None:
    tokenizer = tokenizer_like(name)
    one = encoder(tokenizer)
    sample = one.encode(question, answer)

    assert heavy_texts(tokenizer, sample) == (question.strip(), answer.strip() + end_of_turn(name))
    plain = one.encode(QUESTION, ANSWER).ids
    assert control_ids(tokenizer, sample.ids) == control_ids(tokenizer, plain)
    # What is light is the same for every question.
    assert [i for i, w in zip(sample.ids, sample.weights, strict=True) if w == 1.0] == [
        i for i, w in zip(plain, one.encode(QUESTION, ANSWER).weights, strict=True) if w == 1.0
    ]


# -- templates that can't be used --------------------------------------------------------------

IM = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + BODY + '<|im_end|>\n' }}"
    "{% endfor %}"
)
OPEN = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (IM.replace("BODY", "m.content + ' / ' + m.content") + OPEN, "2 times"),
        (IM.replace("BODY", "'...'") + OPEN, "0 times"),
        (IM.replace("BODY", "m.content | upper") + OPEN, "0 times"),
        (IM.replace("BODY", "m.content"), "opens a reply with"),  # knows no generation prompt
        (CHATML.replace("assistant\n' }}", "assistant\n<think>\n' }}"), "<think>"),
        (MISTRAL.replace("bos_token", "''"), "opens a reply with"),
        (IM.replace("BODY", "m.content").replace("<|im_end|>", "") + OPEN, "learn to stop"),
        ("{{ raise_exception('no chats today') }}", "no chats today"),
    ],
    ids=["twice", "dropped", "upper", "no-opening", "think", "mistral", "no-end", "raises"],
)
def test_an_unsuitable_template_is_refused(template: str, said: str) -> None:
    with pytest.raises(ChatTemplateError, match=said):
        encoder(with_template(template))


def test_a_tokenizer_without_template_is_refused() -> None:
    with pytest.raises(ChatTemplateError, match=r"no chat template.*instruction-tuned"):
        encoder(with_template(""))


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        ("m.content | replace('  ', ' ')", "two  spaces?"),
        ("m.content | replace('<', '&lt;')", "is 1 < 2?"),
        ("m.content.split('</think>')[-1]", "<think>No.</think> Really?"),
    ],
)
def test_a_template_that_changes_inner_text_is_refused_for_that_text(
    change: str, changed: str
) -> None:
    one = encoder(with_template(IM.replace("BODY", change) + OPEN))
    assert one.encode(QUESTION, ANSWER)
    with pytest.raises(ChatTemplateError, match="doesn't render this question"):
        one.encode(changed, ANSWER)
    with pytest.raises(ChatTemplateError, match="doesn't render this question"):
        one.encode(QUESTION, changed)


def test_a_sample_that_is_too_long_is_refused() -> None:
    tokenizer = tokenizer_like("chatml")
    size = len(encoder(tokenizer).encode(QUESTION, ANSWER).ids)

    assert encoder(tokenizer, max_tokens=size).encode(QUESTION, ANSWER)
    with pytest.raises(QuestionTooLongError, match=f"takes {size} tokens, at most {size - 1}"):
        encoder(tokenizer, max_tokens=size - 1).encode(QUESTION, ANSWER)
    with pytest.raises(QuestionTooLongError, match="max_sample_tokens"):
        encoder(tokenizer).encode("word " * 50_000, ANSWER)


@pytest.mark.parametrize(("question", "answer"), [("", "Yes"), ("Is it?", " \n"), ("\t", "")])
def test_an_empty_question_or_answer_is_refused(question: str, answer: str) -> None:
    with pytest.raises(QuestionError, match="needs text and an answer"):
        encoder(tokenizer_like("chatml")).encode_all([Question(question, answer, "open")])


def test_a_prompt_that_would_merge_with_the_answer_is_tokenized_by_itself() -> None:
    # With a byte-level BPE " the" is one token, but generation starts after the ":" and " ".
    template = (
        "{% for m in messages %}{{ m.role + ': ' + m.content + '<|im_end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
    tokenizer = with_template(template)
    whole = tokenizer.encode("assistant: the", add_special_tokens=False)
    prompt = tokenizer.encode("assistant: ", add_special_tokens=False)
    assert whole[: len(prompt)] != prompt  # or this test shows nothing

    sample = encoder(tokenizer, None).encode("Is it?", "the")
    assert list(sample.ids[: sample.answer_start]) == tokenizer.encode(
        "user: Is it?<|im_end|>assistant: ", add_special_tokens=False
    )
    assert tokenizer.decode(sample.ids[sample.answer_start : sample.answer_end]) == "the<|im_end|>"
