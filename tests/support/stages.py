"""Stages that write down what they see, fail, or never end."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from blip.errors import BlipError
from blip.outputs import Kind

KIND = Kind("work", "blip work", ("threads",))


@dataclass(frozen=True)
class CountThreads:
    """Writes down how many threads torch may use."""

    folder: Path

    def __call__(self) -> None:
        import torch

        (self.folder / "threads").write_text(str(torch.get_num_threads()))


@dataclass(frozen=True)
class Fail:
    """Fails as a task does."""

    def __call__(self) -> None:
        raise BlipError("no good")


@dataclass(frozen=True)
class Crash:
    """Fails as no task should."""

    def __call__(self) -> None:
        raise ZeroDivisionError("in two\nlines")


@dataclass(frozen=True)
class Sleep:
    """Tells its process and never ends."""

    folder: Path

    def __call__(self) -> None:
        (self.folder / "pid").write_text(str(os.getpid()))
        time.sleep(600)
