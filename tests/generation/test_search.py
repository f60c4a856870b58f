"""Greedy, beam and nucleus: against brute force, in batches as alone, within their lengths."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from blip.generation.beam import beam_search
from blip.generation.config import SearchConfig
from blip.generation.decoder import adjusted
from blip.generation.greedy import greedy
from blip.generation.nucleus import nucleus, pick_by_chance
from tests.generation.chains import ChainDecoder, logits_after

EOS = 0
VOCABULARY = 5


def prompts(rows: int, length: int = 1) -> torch.Tensor:
    return torch.arange(rows * length).view(rows, length) % (VOCABULARY - 1) + 1


def score(ids: list[int], prompt: list[int], decoder: ChainDecoder, *, ended: bool) -> float:
    total, text = 0.0, list(prompt)
    for token in [*ids, *([EOS] if ended else [])]:
        total += float(logits_after(text, decoder).log_softmax(0)[token])
        text.append(token)
    return total


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0])
def test_a_wide_beam_finds_the_best_text_of_all(length_penalty: float) -> None:
    config = SearchConfig(beams=300, min_length=2, max_length=5, length_penalty=length_penalty)
    decoder = ChainDecoder(300, VOCABULARY, seed=3)
    (found,) = beam_search(decoder, torch.tensor([[2]]), EOS, config)
    table = ChainDecoder(1, VOCABULARY, seed=3)
    candidates = []
    for length in range(1, 5):
        for ids in itertools.product(range(1, VOCABULARY), repeat=length):
            tokens = length + (length < 4)
            total = score(list(ids), [2], table, ended=length < 4)
            candidates.append((total / tokens**length_penalty, list(ids)))
    assert found == max(candidates)[1]


@pytest.mark.parametrize("kind", ["greedy", "beam", "nucleus"])
def test_a_batch_gives_what_each_row_gives_alone(kind: str) -> None:
    config = SearchConfig(beams=3, min_length=2, max_length=9)
    start = prompts(6)

    def run(rows: torch.Tensor, seeds: list[int]) -> list[list[int]]:
        if kind == "beam":
            return beam_search(ChainDecoder(3 * len(rows), VOCABULARY), rows, EOS, config)
        decoder = ChainDecoder(len(rows), VOCABULARY)
        if kind == "greedy":
            return greedy(decoder, rows, EOS, config)
        return nucleus(decoder, rows, EOS, config, seeds)

    together = run(start, list(range(6)))
    assert together == [run(start[i : i + 1], [i])[0] for i in range(6)]
    assert len({tuple(text) for text in together}) > 1


def test_greedy_is_a_beam_of_one() -> None:
    config = SearchConfig(beams=1, min_length=2, max_length=9)
    start = prompts(8)
    texts = greedy(ChainDecoder(8, VOCABULARY), start, EOS, config)
    assert texts == beam_search(ChainDecoder(8, VOCABULARY), start, EOS, config)


def test_more_beams_never_find_less() -> None:
    table = ChainDecoder(1, VOCABULARY, seed=5)
    best = -np.inf
    for beams in (1, 2, 4, 64):
        config = SearchConfig(beams=beams, min_length=2, max_length=6, length_penalty=0.0)
        decoder = ChainDecoder(beams, VOCABULARY, seed=5)
        (ids,) = beam_search(decoder, torch.tensor([[1]]), EOS, config)
        found = score(ids, [1], table, ended=len(ids) < 5)
        assert found >= best - 1e-5
        best = max(best, found)


@given(
    seed=st.integers(0, 50),
    kind=st.sampled_from(["greedy", "beam", "nucleus"]),
    least=st.integers(0, 8),
    more=st.integers(0, 6),
    prompt=st.integers(1, 3),
)
def test_lengths_are_kept(seed: int, kind: str, least: int, more: int, prompt: int) -> None:
    most = max(least + more, 2)
    config = SearchConfig(beams=2, min_length=least, max_length=most)
    start = prompts(3, prompt)
    if kind == "beam":
        texts = beam_search(ChainDecoder(6, VOCABULARY, seed), start, EOS, config)
    elif kind == "greedy":
        texts = greedy(ChainDecoder(3, VOCABULARY, seed), start, EOS, config)
    else:
        texts = nucleus(ChainDecoder(3, VOCABULARY, seed), start, EOS, config, [1, 2, 3])
    for text in texts:
        assert EOS not in text
        assert len(text) + prompt <= max(most, prompt)
        assert len(text) + prompt >= min(least, most) or prompt >= most


def test_finished_rows_leave_the_batch() -> None:
    decoder = ChainDecoder(8, VOCABULARY, spread=4.0)
    greedy(decoder, prompts(8), EOS, SearchConfig(min_length=0, max_length=12))
    assert decoder.reordered > 0
    assert len(decoder.texts) < 8


vectors = st.lists(st.floats(-8, 8), min_size=2, max_size=12)


@given(logits=vectors, p=st.floats(0.05, 0.95), chance=st.floats(0, 0.999999))
def test_nucleus_is_the_smallest_set_that_reaches_p(
    logits: list[float], p: float, chance: float
) -> None:
    row = torch.tensor([logits], dtype=torch.float64)
    drawn = int(pick_by_chance(row, p, torch.tensor([chance])))
    probabilities = row[0].softmax(0)
    likelier = probabilities[probabilities > probabilities[drawn]].sum()
    assert likelier < p + 1e-12


def test_nucleus_draws_in_proportion() -> None:
    row = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    chances = (torch.arange(1000) + 0.5) / 1000
    drawn = pick_by_chance(row.expand(1000, -1), 0.9, chances)
    shares = torch.bincount(drawn, minlength=4) / 1000
    expected = torch.tensor([0.5, 0.3, 0.15, 0.0]) / 0.95
    torch.testing.assert_close(shares, expected, atol=2e-3, rtol=0)
    first = pick_by_chance(torch.tensor([[0.9, 0.06, 0.03, 0.01]]).log(), 0.5, chances[:1])
    assert first.item() == 0


def test_a_text_follows_its_seed_and_nothing_else() -> None:
    config = SearchConfig(min_length=3, max_length=9)
    start = torch.ones(4, 1, dtype=torch.int64)
    texts = nucleus(ChainDecoder(4, VOCABULARY), start, EOS, config, [7, 8, 7, 9])
    assert texts[0] == texts[2]
    with pytest.raises(ValueError, match="4 rows need as many seeds, got 2"):
        nucleus(ChainDecoder(4, VOCABULARY), start, EOS, config, [1, 2])


def test_adjusted_logits_by_hand() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5]])
    so_far = torch.tensor([[0, 1]])
    changed = adjusted(logits, so_far, eos_id=2, min_length=3, repetition_penalty=2.0)
    assert changed.tolist() == [[1.0, -2.0, -torch.inf]]
    with pytest.raises(ValueError, match="not numbers"):
        adjusted(logits * torch.nan, so_far, eos_id=2, min_length=0, repetition_penalty=1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"top_p": 0.0}, r"top_p must lie in \(0, 1\], got 0.0"),
        ({"beams": 0}, "beams must be positive, got 0"),
        ({"min_length": 30}, r"min_length must lie in 0..max_length \(20\), got 30"),
        ({"temperature": 0.0}, "temperature must be positive, got 0.0"),
    ],
)
def test_impossible_searches_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SearchConfig(**change)
