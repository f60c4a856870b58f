"""The floors count what torch counts for the same work, and nothing that padding adds."""

from dataclasses import replace

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.work import (
    Step,
    encode_images,
    match_texts,
    pretrain_step,
    project_images,
    seconds_at_least,
    write_texts,
)
from blip.data.examples.pairs import PairBatch
from blip.data.tokenizer import Tokenizer
from blip.model.blip import Blip
from blip.model.decoding import DecodingSession
from blip.objectives.config import ContrastiveConfig, LanguageConfig
from blip.objectives.itc import MomentumContrast
from blip.objectives.itm import Negatives
from blip.tasks.pretrain import PretrainStep
from tests.support.tiny import TINY, tiny_model
from tests.support.tiny_data import WORDS, tokenizer

__all__ = ["tokenizer"]


def operations(work) -> int:
    # The fused kernels of attention are not counted on every device.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


@torch.no_grad()
def test_images() -> None:
    model = tiny_model()
    pixels = torch.randn(2, 3, 32, 32)
    assert encode_images(TINY, 2).operations == operations(lambda: model.encode_image(pixels))
    states = model.encode_image(pixels)
    found = operations(lambda: model.project_image(states, "causal"))
    assert project_images(TINY, 2).operations == found


@torch.no_grad()
def test_decoding() -> None:
    model = tiny_model().requires_grad_(False)
    image_kv = model.project_image(model.encode_image(torch.randn(2, 3, 32, 32)), "causal")
    session = DecodingSession(model, image_kv, copies=3)
    steps = write_texts(TINY, images=2, copies=3, tokens=4)
    assert len(steps) == 4
    session(torch.full((6, 1), 7))
    for step in steps[1:]:
        ids = torch.randint(1, 38, (6, 1))
        assert step.operations == operations(lambda ids=ids: session(ids))


def test_weights_that_a_step_reads() -> None:
    model = tiny_model()
    read = sum(p.numel() for p in model.language_head.dense.parameters() if p.dim() > 1)
    read += model.text.embedding.select("causal").words.weight.numel()
    for layer in model.text.layers:
        parts = [layer.self_attention.select("causal"), layer.mlp.select("causal")]
        cross = layer.cross_attention.select("causal").read
        parts += [cross.query, cross.output]
        read += sum(p.numel() for part in parts for p in part.parameters() if p.dim() > 1)
    kept = TINY.text.depth * 2 * TINY.text.width
    first, second = write_texts(TINY, images=2, copies=3, tokens=2)
    assert first.numbers_read == read + kept * 2 * TINY.vision.tokens
    assert second.numbers_read == first.numbers_read + kept * 6


@torch.no_grad()
def test_matching() -> None:
    model = tiny_model().requires_grad_(False)
    image_kv = model.project_image(model.encode_image(torch.randn(1, 3, 32, 32)), "bidirectional")
    ids = torch.randint(1, 38, (3, 5))
    found = operations(lambda: model.match_logits(ids, torch.ones_like(ids).bool(), image_kv))
    assert match_texts(TINY, [5, 5, 5]).operations == found
    assert match_texts(TINY, [5, 4, 3]).operations < found


def test_pretraining(tokenizer: Tokenizer) -> None:
    text = replace(TINY.text, vocabulary_size=tokenizer.vocabulary_size)
    config = replace(TINY, text=text)
    length, count = 6, 4
    model = Blip(config)
    negatives = Negatives(torch.tensor([1, 2, 3, 0]), torch.tensor([3, 0, 1, 2]))
    step = PretrainStep(model, tokenizer, LanguageConfig(), sample=lambda *_: negatives)
    contrast = MomentumContrast(model, ContrastiveConfig(queue_size=0))
    batch = PairBatch(
        torch.randn(count, 3, 32, 32),
        tokenizer.encode([" ".join(WORDS[: length - 2])] * count, 30),
        torch.arange(count),
        tuple("abcd"),
    )
    assert batch.texts.visible.all()

    def work() -> None:
        step(batch, contrast.context(batch, 1.0)).loss.backward()

    planned = pretrain_step(config, [length] * count, [length] * count).operations
    # Projections and the contrast itself are not in the plan.
    projections = 2 * count * config.projection * (TINY.vision.width + TINY.text.width)
    cosines = 2 * 2 * count**2 * config.projection
    assert operations(work) == planned + 4 * projections + 3 * cosines


def test_a_step_takes_the_longer_of_computing_and_reading() -> None:
    steps = [Step(100, 10), Step(10, 100)]
    assert seconds_at_least(steps, 10.0, None) == 11.0
    assert seconds_at_least(steps, 10.0, 5.0) == 10.0 + 20.0
