"""A linear layer in int8 is the one in float32 after rounding by hand, row by row."""

import copy
import io

import pytest
import torch
from torch.nn.functional import gelu

from blip.errors import UsageError
from blip.nn.kernels import int8_weight
from blip.nn.kernels.int8_weight import (
    ROWS_AT_A_TIME,
    Int8Weight,
    int8_multiplies,
    most_of_weights,
    round_rows,
)
from blip.nn.kernels.switch import kernels, kernels_enabled
from blip.nn.linear import Linear


@pytest.fixture(params=["kernel", "plain"], autouse=True)
def both_ways(request: pytest.FixtureRequest):
    if request.param == "kernel" and not (kernels_enabled() and int8_multiplies()):
        pytest.skip("this CPU has no instructions for int8, or kernels are off")
    with kernels(request.param == "kernel"):
        yield


def rounded(rows: torch.Tensor, most: int = 127) -> torch.Tensor:
    """Each row as whole numbers up to `most` times a scale allow."""
    scales = rows.abs().amax(dim=1, keepdim=True) / most
    return torch.where(scales > 0, (rows / scales).round().clamp(-most, most) * scales, 0.0)


@pytest.mark.parametrize("rows", [1, 4, 60])
@torch.inference_mode()
def test_the_largest_numbers_do_not_overflow(rows: int) -> None:
    """Without VNNI a CPU sums two products in 16 bits."""
    torch.manual_seed(0)
    weight = torch.where(torch.rand(40, 768) < 0.95, 1.0, -1.0)
    input = torch.where(torch.rand(rows, 768) < 0.95, 1.0, -1.0)
    found = Int8Weight(weight).multiply(input, None)
    torch.testing.assert_close(found, input @ weight.t(), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("rows", [1, 4, 0, ROWS_AT_A_TIME + 3])
@torch.inference_mode()
def test_products_are_those_of_numbers_rounded_by_hand(rows: int) -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(40, 72) * torch.rand(40, 1), torch.randn(40)
    input = torch.randn(rows, 72) * torch.rand(rows, 1) * 100
    expected = rounded(input) @ rounded(weight, most_of_weights()).t() + bias
    layer = Int8Weight(weight)
    torch.testing.assert_close(layer.multiply(input, bias), expected, rtol=1e-4, atol=1e-4)
    found = layer.multiply(input, bias, then_gelu=True)
    torch.testing.assert_close(found, gelu(expected), rtol=1e-4, atol=1e-4)
    found = layer.multiply(input, None)
    torch.testing.assert_close(found, expected - bias, rtol=1e-4, atol=1e-3)


@torch.inference_mode()
def test_a_row_does_not_depend_on_the_others_of_its_batch() -> None:
    layer, rows = Int8Weight(torch.randn(24, 32)), torch.randn(5, 3, 32)
    alone = layer.multiply(rows[2, 1:2], None)
    rows[0] *= 1e4
    assert torch.equal(layer.multiply(rows, None)[2, 1:2], alone)


@torch.inference_mode()
def test_zeros_and_what_is_not_finite() -> None:
    weight = torch.randn(8, 16)
    weight[3] = 0.0
    input = torch.randn(4, 16)
    input[0] = 0.0
    input[1, 2], input[2, 5] = torch.nan, torch.inf
    bias = torch.randn(8)
    found = Int8Weight(weight).multiply(input, bias)
    assert torch.equal(found[0], bias)
    assert not found[1:3].isfinite().any(dim=0).all()
    assert found[1].isnan().all()
    torch.testing.assert_close(
        found[3], (rounded(input[3:]) @ rounded(weight, most_of_weights()).t() + bias)[0]
    )


def test_rounded_rows_use_all_of_their_numbers() -> None:
    whole, scales = round_rows(torch.tensor([[-3.0, 0.0, 1.49, 3.0]]))
    assert whole.tolist() == [[1, 128, 191, 255]]
    torch.testing.assert_close(scales, torch.tensor([[3 / 127]]))


@torch.inference_mode()
def test_bfloat16_in_gives_bfloat16_out() -> None:
    layer, rows = Int8Weight(torch.randn(24, 32)), torch.randn(2, 32).bfloat16()
    assert torch.equal(
        layer.multiply(rows, None), layer.multiply(rows.float(), None).to(torch.bfloat16)
    )


@torch.inference_mode()
def test_a_linear_layer_in_int8_has_no_weight_any_more() -> None:
    layer, rows = Linear(32, 24), torch.randn(3, 32)
    exact = layer(rows), layer.then_gelu(rows), layer.part(rows, slice(5, 9))
    layer.to_int8()
    found = layer(rows), layer.then_gelu(rows), layer.part(rows, slice(5, 9))
    for one, other in zip(found, exact, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0.02)
        assert not torch.equal(one, other)
    assert torch.equal(found[2], found[0][:, 5:9])
    assert [name for name, _ in layer.named_parameters()] == ["bias"]


def test_nothing_is_kept_for_gradients() -> None:
    layer = Linear(8, 600)
    layer.to_int8()
    for rows in (2, ROWS_AT_A_TIME + 1):
        assert not layer.then_gelu(torch.randn(rows, 8, requires_grad=True)).requires_grad


def test_it_is_neither_saved_nor_copied() -> None:
    layer = Linear(8, 8)
    layer.to_int8()
    with pytest.raises(UsageError, match=r"in int8 cannot be saved; load .* in float32"):
        layer.state_dict()
    with pytest.raises(UsageError, match="in int8 cannot be copied"):
        copy.deepcopy(layer)
    with pytest.raises(UsageError, match="in int8 cannot be copied"):
        torch.save(layer, io.BytesIO())


@torch.inference_mode()
def test_a_weight_that_is_read_often_stays_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8_weight, "READS_BEFORE_HUGE_PAGES", 2)
    layer, rows = Int8Weight(torch.randn(2000, 1200)), torch.randn(2, 1200)
    first = layer.multiply(rows, None)
    assert all(torch.equal(layer.multiply(rows, None), first) for _ in range(3))
