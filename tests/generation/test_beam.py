"""Beam search against brute force; what more beams and a later end may change."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from blip.generation.beam import beam_search
from blip.generation.config import DecodingConfig
from tests.support.chains import ChainDecoder, logits_after

EOS = 0
VOCABULARY = 5


def score(ids: list[int], prompt: list[int], decoder: ChainDecoder, *, ended: bool) -> float:
    total, text = 0.0, list(prompt)
    for token in [*ids, *([EOS] if ended else [])]:
        total += float(logits_after(text, decoder).log_softmax(0)[token])
        text.append(token)
    return total


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0])
def test_a_wide_beam_finds_the_best_text_of_all(length_penalty: float) -> None:
    config = DecodingConfig(beams=300, min_length=2, max_length=5, length_penalty=length_penalty)
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


def test_more_beams_never_find_less() -> None:
    table = ChainDecoder(1, VOCABULARY, seed=5)
    best = -np.inf
    for beams in (1, 2, 4, 64):
        config = DecodingConfig(beams=beams, min_length=2, max_length=6, length_penalty=0.0)
        decoder = ChainDecoder(beams, VOCABULARY, seed=5)
        (ids,) = beam_search(decoder, torch.tensor([[1]]), EOS, config)
        found = score(ids, [1], table, ended=len(ids) < 5)
        assert found >= best - 1e-5
        best = max(best, found)


@given(seed=st.integers(0, 200), penalty=st.sampled_from([0.5, 1.0, 2.0]), least=st.integers(0, 4))
def test_who_stops_later_finds_no_less(seed: int, penalty: float, least: int) -> None:
    table = ChainDecoder(1, VOCABULARY, seed=seed)
    found = []
    for early_stopping in (True, False, "never"):
        config = DecodingConfig(
            beams=2,
            min_length=least,
            max_length=7,
            length_penalty=penalty,
            early_stopping=early_stopping,
        )
        decoder = ChainDecoder(2, VOCABULARY, seed=seed)
        (ids,) = beam_search(decoder, torch.tensor([[1]]), EOS, config)
        ended = len(ids) < 6
        total = score(ids, [1], table, ended=ended)
        found.append((total / (len(ids) + ended) ** penalty, len(decoder.texts[0])))
    scores, steps = zip(*found, strict=True)
    assert scores[0] <= scores[1] + 1e-5
    assert scores[1] <= scores[2] + 1e-5
    assert list(steps) == sorted(steps)


def test_each_rule_of_stopping_stops_somewhere_else() -> None:
    steps = set()
    for early_stopping in (True, False, "never"):
        config = DecodingConfig(
            beams=2, min_length=0, max_length=30, length_penalty=1.5, early_stopping=early_stopping
        )
        decoder = ChainDecoder(2, VOCABULARY, seed=4)
        beam_search(decoder, torch.tensor([[1]]), EOS, config)
        steps.add(len(decoder.texts[0]))
    assert len(steps) == 3


def as_formerly(prompt: list[int], seed: int, config: DecodingConfig) -> list[int]:
    """The search of the library that BLIP was released with, for one image, step by step."""
    table = ChainDecoder(1, VOCABULARY, seed=seed)
    going: list[tuple[float, list[int]]] = [(0.0, prompt)]
    done: list[tuple[float, list[int]]] = []

    def finish(total: float, text: list[int]) -> None:
        done.append((total / len(text) ** config.length_penalty, text))
        done.sort(key=lambda found: -found[0])
        del done[config.beams :]

    while len(going[0][1]) < config.max_length:
        candidates = []
        for total, text in going:
            chances = logits_after(text, table).log_softmax(0).tolist()
            forbidden = [EOS] if len(text) < config.min_length else []
            candidates += [
                (total + chance, text, token)
                for token, chance in enumerate(chances)
                if token not in forbidden
            ]
        candidates.sort(key=lambda candidate: -candidate[0])
        del candidates[2 * config.beams :]
        length = len(going[0][1])
        for total, text, token in candidates[: config.beams]:
            if token == EOS:
                finish(total, text)
        going = [(total, [*text, token]) for total, text, token in candidates if token != EOS]
        del going[config.beams :]
        hope = candidates[0][0] / length**config.length_penalty
        if len(done) == config.beams and (config.early_stopping or done[-1][0] >= hope):
            return done[0][1][len(prompt) :]
    for total, text in going:
        finish(total, text)
    return done[0][1][len(prompt) :]


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("length_penalty", [-0.5, 1.0, 2.0])
@pytest.mark.parametrize("prompt", [[1], [3, 2, 4]])
def test_the_whole_text_is_scored_as_formerly(
    early_stopping: bool, length_penalty: float, prompt: list[int]
) -> None:
    options = {"beams": 2, "min_length": 3, "max_length": 9}
    options |= {"length_penalty": length_penalty, "early_stopping": early_stopping}
    for seed in range(40):
        config = DecodingConfig(scored_length="whole_text", **options)
        decoder = ChainDecoder(2, VOCABULARY, seed=seed)
        (found,) = beam_search(decoder, torch.tensor([prompt]), EOS, config)
        assert found == as_formerly(prompt, seed, config)


def test_behind_a_prompt_the_two_lengths_choose_different_texts() -> None:
    def texts(**options: Any) -> list[list[int]]:
        config = DecodingConfig(beams=2, min_length=3, max_length=9, **options)
        start = torch.tensor([[3, 2, 4]])
        return [
            beam_search(ChainDecoder(2, VOCABULARY, seed=seed), start, EOS, config)[0]
            for seed in range(40)
        ]

    assert texts() == texts(scored_length="new_tokens")
    assert texts() != texts(scored_length="whole_text")
    # Sums of log-probabilities are compared as they are: the length has no say.
    raw = texts(scored_length="whole_text", length_penalty=0.0, early_stopping=True)
    assert raw == texts(length_penalty=0.0, early_stopping=True)


@pytest.mark.parametrize("scored_length", ["new_tokens", "whole_text"])
def test_several_are_the_best_of_all_the_best_first(scored_length: Any) -> None:
    config = DecodingConfig(beams=300, min_length=2, max_length=5, scored_length=scored_length)
    start = torch.tensor([[2], [3]])

    def find(**count: int) -> list[list[int]]:
        return beam_search(ChainDecoder(600, VOCABULARY, seed=3), start, EOS, config, **count)

    found = find(count=4)
    assert found[::4] == find()
    table = ChainDecoder(1, VOCABULARY, seed=3)
    for image, prompt in enumerate(start.tolist()):
        candidates = []
        for length in range(1, 5):
            for ids in itertools.product(range(1, VOCABULARY), repeat=length):
                ended = length < 4
                counted = length + ended if scored_length == "new_tokens" else 1 + length
                total = score(list(ids), prompt, table, ended=ended)
                candidates.append((total / counted, list(ids)))
        best = [ids for _, ids in sorted(candidates, reverse=True)[:4]]
        assert found[image * 4 : image * 4 + 4] == best
    with pytest.raises(ValueError, match=r"count must not be above beams \(300\), got 301"):
        find(count=301)
    full = torch.tensor([[2] * 5])
    assert beam_search(ChainDecoder(300, VOCABULARY), full, EOS, config, 2) == [[], []]
