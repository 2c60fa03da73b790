"""The lower layers compute what transformers' model does."""

import pytest
import torch
from transformers import BertConfig, BertModel

from plum_langchain.scope.layers import LowerLayers


def bert(dtype: torch.dtype) -> BertModel:
    """A tiny one of random weights, none of which are left at nought or one."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50,
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=40,
        max_position_embeddings=32,
    )
    model = BertModel(config).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("lengths", [[7], [7, 7], [7, 3, 1]], ids=str)
def test_lower_layers_compute_what_the_model_does(lengths: list[int], dtype: torch.dtype) -> None:
    model = bert(dtype)
    ids = torch.randint(1, 50, (len(lengths), max(lengths)))
    there = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]

    with torch.inference_mode():
        expected = model(ids, attention_mask=there.long(), output_hidden_states=True)
        found = LowerLayers(model, 2).states(ids, there)

    assert len(found) == 2
    near = 1e-5 if dtype == torch.float32 else 0.05
    for ours, theirs in zip(found, expected.hidden_states[1:], strict=False):
        torch.testing.assert_close(ours[there], theirs[there], rtol=near, atol=near)
