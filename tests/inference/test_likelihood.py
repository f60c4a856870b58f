"""The likelihood of a text is what teacher forcing gives, token by token."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from blip.data.tokenizer import Tokenizer
from blip.generation.config import DecodingConfig
from blip.inference import likelihood
from blip.inference.captioner import Captioner
from blip.inference.decoding import decode_texts
from blip.inference.pixels import to_pixels
from blip.model.blip import Blip
from tests.support.tiny import make_model
from tests.support.tiny_data import SENTENCE

DECODINGS = [
    DecodingConfig(min_length=3, max_length=12),
    DecodingConfig(kind="greedy", min_length=3, max_length=8),
    DecodingConfig(kind="nucleus", top_p=1.0, min_length=1, max_length=9, repetition_penalty=1.3),
    DecodingConfig(prompt="a red", min_length=4, max_length=12),
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train([SENTENCE] * 3, vocabulary_size=200)


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> Blip:
    model = make_model(tokenizer)
    for layer in model.text.layers:
        torch.nn.init.normal_(layer.cross_attention.select("causal").read.key_value.weight, std=2.0)
    # One that ends its texts, sooner or later.
    with torch.no_grad():
        model.language_head.bias[tokenizer.sep_id] = 3.0
    return model


def pictures(count: int) -> list[Image.Image]:
    rng = np.random.default_rng(1)
    return [
        Image.fromarray(rng.integers(0, 255, (40, 56, 3), dtype=np.uint8)) for _ in range(count)
    ]


@torch.no_grad()
def step_by_step(
    model: Blip, states: torch.Tensor, start: list[int], ids: list[int]
) -> list[float]:
    """The log-probability of each of `ids`, each read from a text that ends before it."""
    image_kv = model.project_image(states, "causal")
    found = []
    for place, token in enumerate(ids):
        before = torch.tensor([[*start, *ids[:place]]])
        logits = model.language_logits(before, torch.ones_like(before, dtype=torch.bool), image_kv)
        found.append(float(logits[0, -1].double().log_softmax(0)[token]))
    return found


@pytest.mark.parametrize(
    "decoding", DECODINGS, ids=lambda decoding: decoding.kind + decoding.prompt
)
def test_it_is_the_sum_over_the_tokens_that_were_written(
    model: Blip, tokenizer: Tokenizer, decoding: DecodingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    captioner, count = Captioner(model, tokenizer), 1 if decoding.kind == "greedy" else 3
    images = pictures(3)
    seeds = [[n * count + m for m in range(count)] for n in range(3)]
    rows = captioner.scored_captions(images, count, decoding, seeds=seeds)
    assert [[one.text for one in row] for row in rows] == captioner.captions(
        images, count, decoding, seeds=seeds
    )
    start = tokenizer.encode_prompt(decoding.prompt)
    for image, row, own in zip(images, rows, seeds, strict=True):
        states = model.encode_image(to_pixels([image], 32, model.device))
        image_kv = model.project_image(states, "causal")
        found = decode_texts(
            model, image_kv, start, tokenizer.sep_id, decoding, count=count, seeds=own
        )
        for ids, caption in zip(found, row, strict=True):
            ends = len(start) + len(ids) < decoding.max_length
            of_tokens = step_by_step(model, states, start, [*ids, *[tokenizer.sep_id] * ends])
            assert caption.tokens == len(of_tokens)
            assert caption.log_likelihood == pytest.approx(sum(of_tokens), rel=1e-4)
            mean = caption.log_likelihood_per_token
            assert mean == pytest.approx(sum(of_tokens) / len(of_tokens), rel=1e-4)
    monkeypatch.setattr(likelihood, "ROWS", 2)
    for row, same in zip(
        rows, captioner.scored_captions(images, count, decoding, seeds=seeds), strict=True
    ):
        for one, other in zip(row, same, strict=True):
            assert one.log_likelihood == pytest.approx(other.log_likelihood, rel=1e-4)


def test_texts_that_end_and_texts_that_are_cut_both_come_up(
    model: Blip, tokenizer: Tokenizer
) -> None:
    decoding = DecodingConfig(kind="nucleus", top_p=1.0, min_length=1, max_length=6)
    (row,) = Captioner(model, tokenizer).scored_captions(pictures(1), 40, decoding)
    assert {caption.tokens for caption in row} >= {2, 3, 4, 5}
    assert all(math.isfinite(caption.log_likelihood) for caption in row)


def test_the_prompt_may_be_kept(model: Blip, tokenizer: Tokenizer) -> None:
    captioner = Captioner(model, tokenizer)
    decoding = DecodingConfig(prompt="A red circle", min_length=6, max_length=12)
    left_out = captioner.caption(pictures(2), decoding)
    kept = captioner.caption(pictures(2), decoding, keep_prompt=True)
    for short, whole in zip(left_out, kept, strict=True):
        assert whole.startswith("a red circle")
        assert whole.endswith(short.removeprefix("##"))
