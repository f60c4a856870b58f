"""What holds for greedy, beam and nucleus alike: batches, lengths, adjustments, broken models."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from blip.generation.beam import beam_search
from blip.generation.config import DecodingConfig
from blip.generation.decoder import apply_penalties
from blip.generation.greedy import greedy
from blip.generation.nucleus import nucleus
from tests.support.chains import ChainDecoder

EOS = 0
VOCABULARY = 5


def prompts(rows: int, length: int = 1) -> torch.Tensor:
    return torch.arange(rows * length).view(rows, length) % (VOCABULARY - 1) + 1


def decode(
    kind: str,
    make: Callable[[int, int], ChainDecoder],
    start: torch.Tensor,
    config: DecodingConfig,
    first_seed: int = 0,
) -> list[list[int]]:
    rows = len(start)
    match kind:
        case "beam":
            decoder = make(rows * config.beams, VOCABULARY)
            return beam_search(decoder, start, EOS, config)
        case "greedy":
            return greedy(make(rows, VOCABULARY), start, EOS, config)
        case _:
            seeds = list(range(first_seed, first_seed + rows))
            return nucleus(make(rows, VOCABULARY), start, EOS, config, seeds)


@pytest.mark.parametrize("kind", ["greedy", "beam", "nucleus"])
def test_a_batch_gives_what_each_row_gives_alone(kind: str) -> None:
    config = DecodingConfig(beams=3, min_length=2, max_length=9)
    start = prompts(6)

    together = decode(kind, ChainDecoder, start, config)
    alone = [
        decode(kind, ChainDecoder, start[i : i + 1], config, first_seed=i)[0] for i in range(6)
    ]
    assert together == alone
    assert len({tuple(text) for text in together}) > 1


def test_greedy_is_a_beam_of_one() -> None:
    config = DecodingConfig(beams=1, min_length=2, max_length=9)
    start = prompts(8)
    texts = greedy(ChainDecoder(8, VOCABULARY), start, EOS, config)
    assert texts == beam_search(ChainDecoder(8, VOCABULARY), start, EOS, config)


@given(
    seed=st.integers(0, 50),
    kind=st.sampled_from(["greedy", "beam", "nucleus"]),
    least=st.integers(0, 8),
    more=st.integers(0, 6),
    prompt=st.integers(1, 3),
)
def test_lengths_are_kept(seed: int, kind: str, least: int, more: int, prompt: int) -> None:
    most = max(least + more, 2)
    config = DecodingConfig(beams=2, min_length=least, max_length=most)
    make = partial(ChainDecoder, seed=seed)
    for text in decode(kind, make, prompts(3, prompt), config):
        assert EOS not in text
        assert len(text) + prompt <= max(most, prompt)
        assert len(text) + prompt >= min(least, most) or prompt >= most


def test_finished_rows_leave_the_batch() -> None:
    decoder = ChainDecoder(8, VOCABULARY, spread=4.0)
    greedy(decoder, prompts(8), EOS, DecodingConfig(min_length=0, max_length=12))
    assert decoder.reordered > 0
    assert len(decoder.texts) < 8


def test_adjusted_logits_by_hand() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5]])
    so_far = torch.tensor([[0, 1]])
    changed = apply_penalties(logits, so_far, eos_id=2, min_length=3, repetition_penalty=2.0)
    assert changed.tolist() == [[1.0, -2.0, -torch.inf]]
    assert logits.tolist() == [[2.0, -1.0, 0.5]]


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("greedy", torch.nan),
        ("beam", torch.nan),
        ("beam", torch.inf),
        ("nucleus", torch.nan),
        ("nucleus", torch.inf),
    ],
)
def test_a_broken_model_is_said(kind: str, wrong: float) -> None:
    class Broken(ChainDecoder):
        def __call__(self, ids: torch.Tensor) -> torch.Tensor:
            logits = super().__call__(ids)
            if len(self.texts[0]) == 3:
                logits[1, 3] = wrong
            return logits

    config = DecodingConfig(beams=2, min_length=6, max_length=8)
    with pytest.raises(ValueError, match="not numbers"):
        decode(kind, Broken, prompts(2), config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"top_p": 0.0}, "`top_p` is 0.0; allowed: a finite number above 0 and of at most 1"),
        ({"top_k": 0}, "`top_k` is 0; allowed: a whole number from 1 "),
        ({"beams": 0}, "`beams` is 0; allowed: a whole number from 1 to 1000"),
        ({"min_length": 30}, "`min_length` is 30; allowed: a whole number from 0 to 20"),
        ({"temperature": 0.0}, "`temperature` is 0.0; allowed: a finite number from 0.001 "),
        ({"top_p": float("nan")}, "`top_p` is nan; allowed"),
        ({"temperature": float("nan")}, "`temperature` is nan; allowed"),
        ({"repetition_penalty": float("nan")}, "`repetition_penalty` is nan; allowed"),
        ({"length_penalty": float("nan")}, "`length_penalty` is nan; allowed"),
    ],
)
def test_impossible_decodings_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DecodingConfig(**change)
