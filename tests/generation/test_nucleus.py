"""Nucleus sampling: the smallest set, in proportion, by seed; quick as by sorting."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from blip.generation.config import DecodingConfig
from blip.generation.nucleus import TOP, keep_top_k, nucleus, sample_nucleus, sample_sorted
from tests.support.chains import ChainDecoder

EOS = 0
VOCABULARY = 5
vectors = st.lists(st.floats(-8, 8), min_size=2, max_size=12)


@given(logits=vectors, p=st.floats(0.05, 0.95), chance=st.floats(0, 0.999999))
def test_nucleus_is_the_smallest_set_that_reaches_p(
    logits: list[float], p: float, chance: float
) -> None:
    row = torch.tensor([logits], dtype=torch.float64)
    drawn = int(sample_nucleus(row, p, torch.tensor([chance])))
    probabilities = row[0].softmax(0)
    likelier = probabilities[probabilities > probabilities[drawn]].sum()
    assert likelier < p + 1e-12


def test_nucleus_draws_in_proportion() -> None:
    row = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    chances = (torch.arange(1000) + 0.5) / 1000
    drawn = sample_nucleus(row.expand(1000, -1), 0.9, chances)
    shares = torch.bincount(drawn, minlength=4) / 1000
    expected = torch.tensor([0.5, 0.3, 0.15, 0.0]) / 0.95
    torch.testing.assert_close(shares, expected, atol=2e-3, rtol=0)
    first = sample_nucleus(torch.tensor([[0.9, 0.06, 0.03, 0.01]]).log(), 0.5, chances[:1])
    assert first.item() == 0


def test_a_text_follows_its_seed_and_nothing_else() -> None:
    config = DecodingConfig(min_length=3, max_length=9)
    start = torch.ones(4, 1, dtype=torch.int64)
    texts = nucleus(ChainDecoder(4, VOCABULARY), start, EOS, config, [7, 8, 7, 9])
    assert texts[0] == texts[2]
    with pytest.raises(ValueError, match="4 rows need as many seeds, got 2"):
        nucleus(ChainDecoder(4, VOCABULARY), start, EOS, config, [1, 2])


def by_sorting(logits: Tensor, top_p: float, chances: Tensor) -> Tensor:
    probabilities, tokens = logits.double().softmax(dim=1).sort(dim=1, descending=True, stable=True)
    mass = probabilities.cumsum(dim=1)
    kept = (probabilities * (mass - probabilities < top_p)).cumsum(dim=1)
    place = torch.searchsorted(kept, chances.double()[:, None] * kept[:, -1:], right=True)
    return tokens.gather(1, place).squeeze(1)


@pytest.mark.parametrize("spread", [0.01, 0.5, 3.0, 8.0])
@pytest.mark.parametrize("top_p", [0.1, 0.9, 1.0])
@pytest.mark.parametrize("steps", [0, 4])
def test_many_tokens_and_ties_as_by_sorting(spread: float, top_p: float, steps: int) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(64, 4 * TOP, generator=generator) * spread
    if steps:
        # Few different values: most tokens are as likely as some other.
        logits = (logits * steps / spread).round() * spread / steps
    chances = torch.rand(64, generator=generator, dtype=torch.float64)
    expected = by_sorting(logits, top_p, chances).tolist()
    assert sample_nucleus(logits, top_p, chances).tolist() == expected
    assert sample_sorted(logits, top_p, chances).tolist() == expected


def test_the_likeliest_are_those_that_the_last_of_them_ties_with() -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0, 1.0, 0.0]])
    inf = torch.inf
    assert keep_top_k(logits, 2).tolist() == [[-inf, 3.0, 2.0, -inf, -inf]]
    assert keep_top_k(logits, 3).tolist() == [[1.0, 3.0, 2.0, 1.0, -inf]]
    assert keep_top_k(logits, 9).tolist() == logits.tolist()
