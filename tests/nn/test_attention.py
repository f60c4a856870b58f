"""Attention: grouped equals one by one, cached equals whole, padding is not seen."""

import pytest
import torch

from blip.nn.attention import (
    AttentionSizes,
    CrossAttention,
    MultiHeadCrossAttention,
    SelfAttention,
)
from blip.nn.kernels.attention import FEW_QUERIES
from blip.nn.kv import ImageStates, KVCache, LayerKV
from blip.nn.packing import pack_texts
from tests.model.tiny import TINY, tiny_model

SIZES = AttentionSizes(width=24, heads=3, dropout=0.0, eps=1e-12)


def whole(attention: SelfAttention, hidden: torch.Tensor) -> torch.Tensor:
    """All texts at once, causally."""
    texts, length, _ = hidden.shape
    rows = pack_texts(torch.full((texts,), length)).rows
    return attention(
        hidden.flatten(0, 1), rows, rows.document_mask(causal=True), causal=True
    ).view_as(hidden)


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


@pytest.mark.parametrize("length", [1, 4])
@pytest.mark.parametrize("masked", [False, True])
def test_few_queries_attend_as_many_do(length: int, masked: bool) -> None:
    attention = MultiHeadCrossAttention(SIZES, kv_width=10)
    states, hidden = torch.randn(2, 5, 10), torch.randn(4, length, 24)
    assert 2 * length <= FEW_QUERIES
    visible = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]).bool()[:, None, None, :]
    kv = LayerKV(*attention.project_kv(states), visible if masked else None)
    expected = attention(hidden, kv).detach()
    with torch.inference_mode():
        torch.testing.assert_close(attention(hidden, kv), expected)


def test_keys_and_values_of_a_decoder_are_contiguous_in_inference() -> None:
    model, states = tiny_model(), torch.randn(2, 5, TINY.vision.width)
    assert not model.project_image(states, "causal").keys[0].is_contiguous()
    with torch.inference_mode():
        assert model.project_image(states, "causal").keys[0].is_contiguous()
        assert not model.project_image(states, "bidirectional").keys[0].is_contiguous()


@pytest.mark.parametrize("cuts", [[1, 1, 1, 1, 1], [3, 1, 1], [2, 3], [5]])
def test_continued_text_equals_the_whole_text(cuts: list[int]) -> None:
    attention = SelfAttention(SIZES)
    hidden = torch.randn(3, 5, 24)
    cache = KVCache(1)
    parts = [attention.continue_text(part, cache, 0) for part in hidden.split(cuts, dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole(attention, hidden))
    assert cache.length == 5


def test_a_long_text_outgrows_the_room() -> None:
    attention = SelfAttention(SIZES)
    hidden = torch.randn(2, 3 * KVCache.ROOM, 24)
    cache = KVCache(1)
    parts = [attention.continue_text(part, cache, 0) for part in hidden.split(1, dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole(attention, hidden))


def test_reordering_the_cache_follows_the_rows() -> None:
    attention = SelfAttention(SIZES)
    hidden = torch.randn(3, 4, 24)
    cache = KVCache(1)
    attention.continue_text(hidden[:, :3], cache, 0)
    index = torch.tensor([2, 0])
    cache.reorder(index)
    # Twice more: what was held before is written over.
    for _ in range(2):
        cache.reorder(torch.tensor([1, 0]))
    continued = attention.continue_text(hidden[index, 3:], cache, 0)
    torch.testing.assert_close(continued[:, 0], whole(attention, hidden)[index, 3])
