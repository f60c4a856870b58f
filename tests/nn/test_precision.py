"""Number formats: which one `auto` is, and what half precision is brought to."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from blip.nn.device import choose_dtype
from blip.nn.precision import at_least_float32


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_half_precision_alone_is_widened(given, found):
    assert at_least_float32(torch.ones(2, dtype=given)).dtype == found


@pytest.mark.parametrize("has_it", [True, False])
def test_auto_is_bfloat16_on_a_gpu_that_has_it(monkeypatch, has_it):
    current: list[torch.device] = []

    @contextmanager
    def device(chosen: torch.device) -> Iterator[None]:
        current.append(chosen)
        yield
        current.pop()

    def supported(including_emulation: bool = True) -> bool:
        assert current == [gpu]
        return has_it or including_emulation

    monkeypatch.setattr(torch.cuda, "device", device)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    gpu, cpu = torch.device("cuda:1"), torch.device("cpu")
    assert choose_dtype("auto", gpu) == (torch.bfloat16 if has_it else torch.float32)
    assert choose_dtype("auto", cpu) == torch.float32


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_format_that_is_named_is_taken_anywhere(device):
    assert choose_dtype("float32", torch.device(device)) == torch.float32
    assert choose_dtype("bfloat16", torch.device(device)) == torch.bfloat16
