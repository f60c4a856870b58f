"""What a benchmark ran on, and how fast that multiplies matrices and reads memory."""

import importlib.metadata
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from blip.nn.kernels.packed_weight import pack_weights
from blip.nn.linear import Linear
from blip.reports.origin import origin

ROOT = Path(__file__).parents[1]
SIDE = {"cpu": 2048, "cuda": 8192}
READ_BYTES = 2**28


def describe(device: torch.device, dtype: torch.dtype, packages: tuple[str, ...]) -> dict[str, Any]:
    """Commit, machine, date, and what computes: enough to tell two results apart."""
    environment: dict[str, Any] = dict(origin(ROOT))
    if device.type == "cuda":
        environment["machine"] += f", {torch.cuda.get_device_name(device)}"
    else:
        environment["machine"] += ", no GPU"
    environment["device"] = device.type
    environment["dtype"] = str(dtype).removeprefix("torch.")
    environment["threads"] = torch.get_num_threads()
    environment["versions"] = {name: importlib.metadata.version(name) for name in packages}
    return environment


BEGUN = time.monotonic()
MOST_SECONDS = 285.0
"""From the start of the program: what a slow machine does in fewer rounds ends in five minutes."""


def rounds(most: int) -> Iterator[int]:
    """Rounds of measurements; after the first none is begun that might not end in time."""
    longest = 0.0
    for number in range(most):
        start = time.monotonic()
        if start + longest > BEGUN + MOST_SECONDS:
            return
        yield number
        longest = max(longest, time.monotonic() - start)


clock = time.perf_counter
"""What `seconds` reads; `time.process_time` where other work takes turns on the same cores."""


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """How long `work` takes once, to its end on the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = clock()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - start


class Speedometer:
    """Measures the machine again and again between other measurements; the best counts."""

    def __init__(self, device: torch.device, dtype: torch.dtype, *, int8: bool = False) -> None:
        """With `int8` products of rows of `dtype` are computed in it; reading stays the same."""
        self.device = device
        side = self.side = SIDE[device.type]
        self.square = torch.randn(side, side, device=device, dtype=dtype)
        # The machine's rate is the best that can be had: by the weight as it lies, or packed.
        packed = Linear(side, side, bias=False)
        pack_weights(packed)
        self.layers = [
            nn.Linear(side, side, bias=False).to(device, dtype),
            packed.to(device, dtype),
        ]
        if int8:
            packed.to_int8()
            self.layers = [packed]
        self.memory = torch.zeros(READ_BYTES // 4, device=device)
        self._product, self._read = float("inf"), float("inf")

    @torch.inference_mode()
    def measure(self) -> None:
        """One more of each."""
        for layer in self.layers:
            self._product = min(self._product, self._time(layer))
        self._read = min(self._read, seconds(self.memory.sum, self.device))

    def _time(self, layer: nn.Module) -> float:
        return seconds(lambda: layer(self.square), self.device)

    @property
    def operations_per_second(self) -> float:
        """Of a large matrix product; a multiplication and an addition are two."""
        return 2 * self.side**3 / self._product

    @property
    def bytes_per_second(self) -> float:
        """Of reading memory that no cache holds."""
        return READ_BYTES / self._read
