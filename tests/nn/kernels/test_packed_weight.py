"""Packed weights give what plain ones give, follow every change, and stay out of training."""

import copy
import io

import pytest
import torch
from torch import nn
from torch.nn.functional import gelu, linear

from blip.nn.kernels.onednn import MIN_WEIGHT_SIZE
from blip.nn.kernels.packed_weight import (
    PackedWeight,
    pack_weights,
    packed_linear,
)
from blip.nn.kernels.pages import READS_BEFORE_HUGE_PAGES
from blip.nn.linear import Linear

WIDE = 512
assert WIDE * WIDE >= MIN_WEIGHT_SIZE

packs = pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512")
    or not torch.backends.mkldnn.is_available(),
    reason="weights are packed on x86 processors alone",
)


@pytest.fixture
def layer() -> Linear:
    layer = Linear(WIDE, WIDE)
    layer.pack()
    return layer


def plain(layer: nn.Linear, rows: torch.Tensor) -> torch.Tensor:
    return linear(rows, layer.weight, layer.bias)


@packs
@torch.inference_mode()
def test_a_large_weight_is_packed_in_inference(layer: Linear) -> None:
    assert layer.packed is not None
    packed = layer.packed.of(layer.weight)
    assert packed is not None
    assert packed is layer.packed.of(layer.weight)
    assert torch.equal(packed.to_dense(), layer.weight)


@pytest.mark.parametrize("shape", [(1, WIDE), (3, 5, WIDE), (2, 0, WIDE)])
@torch.inference_mode()
def test_packed_equals_plain(layer: Linear, shape: tuple[int, ...]) -> None:
    rows = torch.randn(shape)
    torch.testing.assert_close(layer(rows), plain(layer, rows))
    torch.testing.assert_close(layer.then_gelu(rows), gelu(plain(layer, rows)))
    part = torch.randn(4, 3 * WIDE)[:, WIDE : 2 * WIDE]
    torch.testing.assert_close(layer(part), plain(layer, part))


@packs
@torch.inference_mode()
def test_a_weight_that_is_read_often_stays_the_same(layer: Linear) -> None:
    assert layer.packed is not None
    for _ in range(READS_BEFORE_HUGE_PAGES):
        layer.packed.of(layer.weight)
    packed = layer.packed.of(layer.weight)
    assert packed is not None
    assert torch.equal(packed.to_dense(), layer.weight)


def step(layer: Linear) -> None:
    layer(torch.randn(2, WIDE)).sum().backward()
    torch.optim.AdamW(layer.parameters(), lr=0.1).step()


def fused_step(layer: Linear) -> None:
    layer(torch.randn(2, WIDE)).sum().backward()
    torch.optim.AdamW(layer.parameters(), lr=0.1, fused=True).step()


def load(layer: Linear) -> None:
    layer.load_state_dict(Linear(WIDE, WIDE).state_dict())


def assign(layer: Linear) -> None:
    layer.load_state_dict(Linear(WIDE, WIDE).state_dict(), assign=True)


def replace(layer: Linear) -> None:
    layer.weight = nn.Parameter(torch.randn(WIDE, WIDE) * 0.02)


def convert(layer: Linear) -> None:
    layer.double()


@pytest.mark.parametrize("change", [step, fused_step, load, assign, replace, convert])
def test_a_changed_weight_is_packed_anew(layer: Linear, change) -> None:
    rows = torch.randn(2, WIDE)
    with torch.inference_mode():
        before = layer(rows)
    change(layer)
    with torch.inference_mode():
        rows = rows.to(layer.weight.dtype)
        torch.testing.assert_close(layer(rows), plain(layer, rows))
        assert not torch.allclose(layer(rows).float(), before) or change is convert


def test_training_reads_the_weight_itself(layer: Linear) -> None:
    with torch.inference_mode():
        layer(torch.randn(2, WIDE))
    rows = torch.randn(2, WIDE)
    torch.testing.assert_close(layer(rows), plain(layer, rows))
    layer.then_gelu(rows).sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.abs().sum() > 0


def test_autocast_is_obeyed(layer: Linear) -> None:
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(torch.randn(2, WIDE)).dtype == torch.bfloat16


def test_small_weights_stay_as_they_are() -> None:
    small = Linear(8, 8)
    small.pack()
    with torch.inference_mode():
        assert small.packed is not None
        assert small.packed.of(small.weight) is None
        assert small(torch.randn(2, 8)).shape == (2, 8)


def test_copies_and_checkpoints_hold_no_packed_weight(layer: Linear) -> None:
    with torch.inference_mode():
        rows = torch.randn(2, WIDE)
        expected = layer(rows)
    assert set(layer.state_dict()) == {"weight", "bias"}
    stream = io.BytesIO()
    torch.save(layer, stream)
    assert stream.tell() < 1.1 * 4 * WIDE * (WIDE + 1)
    stream.seek(0)
    for other in (copy.deepcopy(layer), torch.load(stream, weights_only=False)):
        assert other.packed is not layer.packed
        with torch.inference_mode():
            torch.testing.assert_close(other(rows), expected)


@torch.inference_mode()
def test_a_weight_of_another_module_may_be_packed() -> None:
    with torch.inference_mode(False):
        words = nn.Embedding.from_pretrained(torch.randn(700, WIDE) * 0.02)
        bias = nn.Parameter(torch.randn(700))
    rows = torch.randn(3, WIDE)
    expected = linear(rows, words.weight, bias)
    torch.testing.assert_close(packed_linear(rows, words.weight, bias, PackedWeight()), expected)
    torch.testing.assert_close(packed_linear(rows, words.weight, bias, None), expected)


def test_all_layers_of_a_model_are_packed_at_once() -> None:
    model = nn.Sequential(Linear(4, 4), nn.ModuleList([Linear(4, 2)]), nn.Linear(2, 2))
    pack_weights(model)
    assert [type(m.packed) for m in model.modules() if isinstance(m, Linear)] == [PackedWeight] * 2
