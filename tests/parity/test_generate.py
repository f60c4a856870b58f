"""Decoding against `generate` of transformers on the same weights: the same ids in all settings."""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from transformers.generation import logits_process as warp

from blip.generation.beam import beam_search
from blip.generation.config import DecodingConfig
from blip.generation.greedy import greedy
from blip.generation.nucleus import make_chances, nucleus
from blip.model.blip import Blip
from blip.model.checkpoint.contents import read_contents
from blip.model.decoding import DecodingSession
from tests.support.huggingface import TINY_SIZES, random_peer

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

DEC, SEP = (TINY_SIZES["text_config"][f"{name}_token_id"] for name in ("bos", "sep"))
PROMPTS = [(), (7, 21, 9)]
IMAGES = 4
make_chances_once = cache(make_chances)
"""The same seeds give all settings the same numbers, and take longer than all else."""


class Pair(NamedTuple):
    """A model of transformers, ours with its weights, and pictures."""

    peer: Any
    ours: Blip
    images: Tensor


@pytest.fixture(scope="module", params=range(3))
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Texts of these end early, late and never."""
    peer = random_peer("caption", TINY_SIZES, request.param)
    generator = torch.Generator().manual_seed(request.param)
    with torch.no_grad():
        peer.text_decoder.cls.predictions.bias.normal_(0.0, 1.0, generator=generator)
        peer.text_decoder.cls.predictions.bias[SEP] += 1.5
        for layer in peer.text_decoder.bert.encoder.layer:
            layer.crossattention.self.value.weight *= 3.0
    folder = tmp_path_factory.mktemp("peer")
    peer.save_pretrained(folder)
    ours = read_contents(folder / "model.safetensors").model()
    assert isinstance(ours, Blip)
    return Pair(peer, ours, torch.randn(IMAGES, 3, 32, 32, generator=generator) * 3)


def written_by_peer(pair: Pair, prompt: tuple[int, ...], **options: Any) -> list[list[int]]:
    """Ids behind the prompt, up to the end token."""
    # Its first token is replaced by the start token, its last is dropped.
    ids = torch.tensor([[DEC, *prompt, SEP]]).repeat(IMAGES, 1)
    rows = pair.peer.generate(pair.images, ids, **options)[:, 1 + len(prompt) :].tolist()
    return [row[: row.index(SEP)] if SEP in row else row for row in rows]


@torch.inference_mode()
def written_by_us(
    pair: Pair, prompt: tuple[int, ...], config: DecodingConfig, decode: Callable[..., Any]
) -> list[list[int]]:
    image_kv = pair.ours.project_image(pair.ours.encode_image(pair.images), "causal")
    session = DecodingSession(pair.ours, image_kv, config.beams if config.kind == "beam" else 1)
    return decode(session, torch.tensor([[DEC, *prompt]]).repeat(IMAGES, 1), SEP, config)


@pytest.mark.parametrize("early_stopping", [True, False, "never"])
@pytest.mark.parametrize("length_penalty", [-1.0, 0.0, 1.0, 2.5])
def test_beam_search(pair: Pair, early_stopping: Any, length_penalty: float) -> None:
    for prompt, least, most, beams, repetition in [
        (PROMPTS[0], 1, 16, 3, 1.0),
        (PROMPTS[1], 7, 12, 2, 1.0),
        (PROMPTS[1], 5, 14, 4, 1.3),
    ]:
        options = {
            "min_length": least,
            "max_length": most,
            "length_penalty": length_penalty,
            "early_stopping": early_stopping,
            "repetition_penalty": repetition,
        }
        config = DecodingConfig(kind="beam", beams=beams, **options)
        expected = written_by_peer(pair, prompt, num_beams=beams, **options)
        assert written_by_us(pair, prompt, config, beam_search) == expected


@pytest.mark.parametrize("prompt", PROMPTS, ids=["bare", "prompted"])
@pytest.mark.parametrize("repetition_penalty", [1.0, 1.1, 0.8])
@pytest.mark.parametrize(("least", "most"), [(1, 16), (8, 12)])
def test_greedy(
    pair: Pair, prompt: tuple[int, ...], repetition_penalty: float, least: int, most: int
) -> None:
    options = {
        "min_length": least,
        "max_length": most,
        "repetition_penalty": repetition_penalty,
    }
    config = DecodingConfig(kind="greedy", **options)
    expected = written_by_peer(pair, prompt, do_sample=False, **options)
    assert written_by_us(pair, prompt, config, greedy) == expected


def test_these_models_write_different_texts_of_different_lengths(pair: Pair) -> None:
    """Or else the tests above would compare little."""
    config = DecodingConfig(kind="beam", min_length=1, max_length=16)
    texts = [
        tuple(text)
        for prompt in PROMPTS
        for text in written_by_us(pair, prompt, config, beam_search)
    ]
    assert len(set(texts)) > 2
    assert len({len(text) for text in texts}) > 1


@pytest.mark.parametrize("top_p", [0.2, 0.9, 0.99])
@pytest.mark.parametrize("top_k", [None, 5])
@pytest.mark.parametrize("temperature", [0.7, 1.0, 2.0])
@pytest.mark.parametrize("repetition_penalty", [1.0, 1.1])
def test_sampling_draws_from_the_same_distribution(
    top_p: float,
    top_k: int | None,
    temperature: float,
    repetition_penalty: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("blip.generation.nucleus.make_chances", make_chances_once)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 40, generator=generator) * 2
    so_far = torch.randint(0, 40, (3, 6), generator=generator)
    warpers = [
        warp.RepetitionPenaltyLogitsProcessor(repetition_penalty),
        warp.TemperatureLogitsWarper(temperature),
        *([] if top_k is None else [warp.TopKLogitsWarper(top_k)]),
        warp.TopPLogitsWarper(top_p),
    ]
    expected = logits
    for warper in warpers:
        expected = warper(so_far, expected)
    expected = expected.softmax(dim=1)
    config = DecodingConfig(
        kind="nucleus",
        top_p=top_p,
        top_k=top_k,
        temperature=temperature,
        repetition_penalty=repetition_penalty,
        min_length=0,
        max_length=so_far.shape[1] + 1,
    )
    draws = 4000
    for row in range(3):
        given = so_far[row : row + 1].expand(draws, -1)
        drawn = nucleus(Told(logits[row]), given, -1, config, range(draws))
        shares = torch.bincount(torch.tensor(drawn).flatten(), minlength=40) / draws
        # Five standard deviations of a share.
        torch.testing.assert_close(shares, expected[row], rtol=0, atol=5 * 0.5 / draws**0.5)
        assert not (shares[expected[row] == 0] > 0).any()


class Told:
    """A decoder that always says the same."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits

    def __call__(self, ids: Tensor) -> Tensor:
        return self.logits.expand(len(ids), -1)

    def reorder(self, index: Tensor) -> None:
        """No text is kept."""
