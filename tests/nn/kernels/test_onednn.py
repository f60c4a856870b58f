"""oneDNN's products of training are torch's, in value and in every gradient."""

import pytest
import torch
from torch.nn.functional import linear as plain_linear

from blip.nn.kernels.onednn import MIN_WEIGHT_SIZE, linear

INPUTS, OUTPUTS = 320, 1024
assert INPUTS * OUTPUTS >= MIN_WEIGHT_SIZE


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, requires_grad=True)


@pytest.mark.parametrize("rows", [(1,), (7,), (3, 5), (2, 3, 40), (0,)])
@pytest.mark.parametrize("biased", [True, False])
def test_values_and_gradients_are_those_of_torch(rows: tuple[int, ...], biased: bool) -> None:
    torch.manual_seed(0)
    input, weight = drawn(*rows, INPUTS), drawn(OUTPUTS, INPUTS)
    given = [input, weight, drawn(OUTPUTS)] if biased else [input, weight]
    asked = torch.randn(*rows, OUTPUTS)
    found, expected = linear(*given, *[None] * (not biased)), plain_linear(*given)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    pairs = zip(
        torch.autograd.grad(found, given, asked),
        torch.autograd.grad(expected, given, asked),
        strict=True,
    )
    for mine, theirs in pairs:
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-3)


def test_only_what_is_asked_for_gets_a_gradient() -> None:
    input, weight = torch.randn(4, INPUTS), drawn(OUTPUTS, INPUTS)
    linear(input, weight[: OUTPUTS - 8], None).sum().backward()
    assert weight.grad is not None
    torch.testing.assert_close(
        weight.grad[: OUTPUTS - 8], input.sum(0).expand(OUTPUTS - 8, -1), rtol=1e-4, atol=1e-4
    )
    assert not weight.grad[OUTPUTS - 8 :].any()


def test_a_transposed_input_is_read_rightly() -> None:
    with torch.no_grad():
        input, weight = torch.randn(INPUTS, 9).t(), torch.randn(OUTPUTS, INPUTS)
        torch.testing.assert_close(
            linear(input, weight, None), plain_linear(input, weight), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_are_left_to_torch(dtype: torch.dtype) -> None:
    input, weight = torch.randn(3, INPUTS, dtype=dtype), torch.randn(OUTPUTS, INPUTS, dtype=dtype)
    assert torch.equal(linear(input, weight, None), plain_linear(input, weight))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert linear(input.float(), weight.float(), None).dtype == torch.bfloat16
