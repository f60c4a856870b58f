"""Keys and values: cached equals whole, rows follow their order, a decoder's are contiguous."""

import pytest
import torch

from blip.nn.attention import AttentionSizes, SelfAttention
from blip.nn.kv import KVCache
from blip.nn.packing import pack_texts
from tests.support.tiny import TINY, tiny_model

SIZES = AttentionSizes(width=24, heads=3, dropout=0.0, eps=1e-12)


def whole(attention: SelfAttention, hidden: torch.Tensor) -> torch.Tensor:
    """All texts at once, causally."""
    texts, length, _ = hidden.shape
    rows = pack_texts(torch.full((texts,), length)).rows
    return attention(
        hidden.flatten(0, 1), rows, rows.document_mask(causal=True), causal=True
    ).view_as(hidden)


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
    hidden = torch.randn(2, 3 * KVCache.SPARE_TOKENS, 24)
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
