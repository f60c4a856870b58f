"""Moving averages: one call for all tensors, or one for each, with the same result."""

import pytest
import torch

from blip.nn.kernels.ema import move_averages
from blip.nn.kernels.switch import kernels


def tensors(seed: int) -> list[torch.Tensor]:
    source = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=source) for shape in ((3, 5), (7,), (1,))]


@pytest.mark.parametrize("enabled", [True, False])
def test_averages_move_towards_the_values_in_place(enabled: bool) -> None:
    averages, before, values = tensors(0), tensors(0), tensors(1)
    with kernels(enabled):
        move_averages(averages, values, 0.25)
    for average, old, value in zip(averages, before, values, strict=True):
        torch.testing.assert_close(average, 0.75 * old + 0.25 * value)


def test_the_private_operation_is_called_only_where_kernels_are_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[float] = []
    monkeypatch.setattr(torch, "_foreach_lerp_", lambda *arguments: calls.append(arguments[2]))
    with kernels(False):
        move_averages(tensors(0), tensors(1), 0.5)
    assert calls == []
    with kernels(True):
        move_averages(tensors(0), tensors(1), 0.5)
    assert calls == [0.5]
