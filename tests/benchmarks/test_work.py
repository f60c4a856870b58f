"""The floors count what torch counts for the same work, and nothing that padding adds."""

import torch
from benchmarks.work import (
    Step,
    encode_images,
    match_texts,
    remember_images,
    seconds_at_least,
    write_texts,
)
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from blip.model.decoding import DecodingSession
from tests.model.tiny import TINY, tiny_model


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
    assert remember_images(TINY, 2).operations == found


@torch.no_grad()
def test_decoding() -> None:
    model = tiny_model().requires_grad_(False)
    memory = model.project_image(model.encode_image(torch.randn(2, 3, 32, 32)), "causal")
    session = DecodingSession(model, memory, copies=3)
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
    memory = model.project_image(model.encode_image(torch.randn(1, 3, 32, 32)), "bidirectional")
    ids = torch.randint(1, 38, (3, 5))
    found = operations(lambda: model.match_logits(ids, torch.ones_like(ids).bool(), memory))
    assert match_texts(TINY, [5, 5, 5]).operations == found
    assert match_texts(TINY, [5, 4, 3]).operations < found


def test_a_step_takes_the_longer_of_computing_and_reading() -> None:
    steps = [Step(100, 10), Step(10, 100)]
    assert seconds_at_least(steps, 10.0, None) == 11.0
    assert seconds_at_least(steps, 10.0, 5.0) == 10.0 + 20.0
