"""What a run measures of itself: how fast it learns, what it waits for, how well it uses a device.

Where a value is not known, such as the peak of a foreign device, it is left out.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

from blip.processes import most_memory

GIB = 2**30


class Stopwatch:
    """Seconds that some blocks took together."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.seconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the time of the block, however it ends."""
        began = self._clock()
        try:
            yield
        finally:
            self.seconds += self._clock() - began


class StepWatch:
    """Rates since they were last read; the loop says in sight what it is doing.

    `peak` gives the device's floating-point operations a second, or None, and is asked once.
    `processes` that train alike count as often in `samples_per_second`; the rest is this one's.
    """

    def __init__(
        self,
        *,
        peak: Callable[[], float | None],
        memory: Callable[[], int | None],
        processes: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask_peak, self._memory = peak, memory
        self._peak: float | None = None
        self._asked = False
        self.processes = processes
        self._clock = clock
        self._start_anew()

    def waiting(self) -> AbstractContextManager[None]:
        """The block waits for data."""
        return self._waited.running()

    def paused(self) -> AbstractContextManager[None]:
        """Do not count the time of a block that does not train, such as an evaluation."""
        return self._paused.running()

    def after_step(self, samples: int, operations: float | None = None) -> None:
        """A batch of `samples` was learnt from, which took so many floating-point operations."""
        self._samples += samples
        if operations is None:
            self._known = False
        else:
            self._operations += operations

    def values(self) -> dict[str, float]:
        """What to log; the next rates begin here.

        `samples_per_second` of all processes; `data_wait`, a share of the time; `memory_gib`; where
        operations are counted `teraflops`, a second, and with a known peak `flops_utilisation`,
        a share of it. Ask when the device has finished: after a loss was read from it.
        """
        seconds = max(self._clock() - self._since - self._paused.seconds, 1e-9)
        found = {
            "samples_per_second": self._samples * self.processes / seconds,
            "data_wait": min(1.0, self._waited.seconds / seconds),
        }
        memory = self._memory()
        if memory is not None:
            found["memory_gib"] = memory / GIB
        if self._known and self._samples:
            found["teraflops"] = self._operations / seconds / 1e12
            peak = self._peak_once()
            if peak is not None:
                found["flops_utilisation"] = self._operations / seconds / peak
        self._start_anew()
        return found

    def _peak_once(self) -> float | None:
        # Measured at the first report, when the device is warm, and not for runs without a count.
        if not self._asked:
            self._peak, self._asked = self._ask_peak(), True
        return self._peak

    def _start_anew(self) -> None:
        self._since = self._clock()
        self._waited, self._paused = Stopwatch(self._clock), Stopwatch(self._clock)
        self._operations = 0.0
        self._samples = 0
        self._known = True


def peak_memory(device: torch.device) -> int | None:
    """Most bytes held so far: of the GPU's memory, else of the process; None on Windows' CPUs."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return most_memory()
