"""oneDNN's products are torch's, in value and in every gradient."""

import pytest
import torch
from torch.nn.functional import gelu
from torch.nn.functional import linear as plain_linear

from blip.nn.kernels import onednn
from blip.nn.kernels.onednn import MIN_PRODUCTS, MIN_WEIGHT_SIZE, linear

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


def test_many_rows_of_a_small_weight_are_multiplied_by_onednn_in_inference_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []
    multiply = onednn.multiply
    monkeypatch.setattr(
        onednn, "multiply", lambda *given, **how: calls.append(1) or multiply(*given, **how)
    )
    weight, bias = torch.randn(96, 64), torch.randn(96)
    many, few = torch.randn(MIN_PRODUCTS // weight.numel() + 1, 64), torch.randn(4, 64)
    for input, in_inference, expected in ((many, True, 1), (many, False, 0), (few, True, 0)):
        calls.clear()
        with torch.inference_mode(in_inference), torch.set_grad_enabled(False):
            found = linear(input, weight, bias, then_gelu=True)
            torch.testing.assert_close(found, gelu(plain_linear(input, weight, bias)))
        assert len(calls) == (expected if onednn.onednn_multiplies(torch.float32) else 0)
