"""Cross-attention: grouped equals one by one, invisible tokens change nothing."""

import pytest
import torch

from blip.nn.attention import (
    AttentionSizes,
    CrossAttention,
    MultiHeadCrossAttention,
)
from blip.nn.kv import ImageStates, LayerKV

SIZES = AttentionSizes(width=24, heads=3, dropout=0.0, eps=1e-12)


def test_texts_of_one_image_attend_as_if_each_had_its_own_copy() -> None:
    attention = MultiHeadCrossAttention(SIZES, kv_width=10)
    states, hidden = torch.randn(2, 5, 10), torch.randn(6, 4, 24)
    key, value = attention.project_kv(states)
    grouped = attention(hidden, LayerKV(key, value))
    each = LayerKV(key.repeat_interleave(3, dim=0), value.repeat_interleave(3, dim=0))
    copied = attention(hidden, each)
    torch.testing.assert_close(grouped, copied)


def test_cross_attention_equals_the_textbook() -> None:
    attention = CrossAttention(SIZES, kv_width=10)
    states, hidden = torch.randn(1, 5, 10), torch.randn(1, 4, 24)
    read = attention.read
    query = read.query(hidden)[0].view(4, 3, 8)
    key, value = (part[0].view(5, 3, 8) for part in read.key_value(states).chunk(2, dim=-1))
    weights = (torch.einsum("qhd,khd->hqk", query, key) / 8**0.5).softmax(dim=-1)
    attended = torch.einsum("hqk,khd->qhd", weights, value).reshape(1, 4, 24)
    expected = attention.norm(hidden + read.output(attended))
    torch.testing.assert_close(attention(hidden, LayerKV(*read.project_kv(states))), expected)


def test_invisible_image_tokens_change_nothing() -> None:
    attention = MultiHeadCrossAttention(SIZES, kv_width=10)
    states, hidden = torch.randn(1, 5, 10), torch.randn(2, 4, 24)
    visible = torch.tensor([[[[True, True, True, False, False]]]])
    masked = attention(hidden, LayerKV(*attention.project_kv(states), visible))
    seen = LayerKV(*attention.project_kv(states[:, :3]))
    torch.testing.assert_close(masked, attention(hidden, seen))


@pytest.mark.parametrize(("texts", "length"), [(2, 1), (6, 1), (4, 3)])
def test_attention_to_states_equals_that_to_their_keys_and_values(texts: int, length: int) -> None:
    attention = MultiHeadCrossAttention(SIZES, kv_width=10)
    torch.nn.init.normal_(attention.key_value.bias)
    states, hidden = torch.randn(2, 5, 10), torch.randn(texts, length, 24)
    read = attention(hidden, ImageStates(states))
    torch.testing.assert_close(read, attention(hidden, LayerKV(*attention.project_kv(states))))
    selected = ImageStates(states).select(torch.tensor([1, 1, 0]))
    assert len(selected) == 3
    assert torch.equal(selected.layer(7).states, states[[1, 1, 0]])
