"""What a run tells: lines and a progress bar for people, metrics.jsonl for machines."""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

SECONDS_BETWEEN_LINES = 10.0
LINES_ONLY = "BLIP_LINES"
"""Environment variable: where it is set, progress comes as lines even on a terminal."""


def say(text: str) -> None:
    """Print a line to stderr; results go to stdout, talk goes here."""
    print(text, file=sys.stderr, flush=True)


class Progress(Protocol):
    """A bar, or lines where nobody sees a bar."""

    def advance(self, steps: int = 1, **shown: object) -> None:
        """Count `steps` more as done and show the given values beside the bar."""
        ...


class _Lines:
    """Progress for a log file: a line from time to time."""

    def __init__(self, total: int | None, description: str, unit: str, done: int) -> None:
        self.total, self.description, self.unit = total, description, unit
        self.done = self.first = done
        self.started = time.monotonic()
        self.spoken = self.started
        self.shown: dict[str, object] = {}

    def advance(self, steps: int = 1, **shown: object) -> None:
        self.done += steps
        self.shown |= shown
        now = time.monotonic()
        if now - self.spoken >= SECONDS_BETWEEN_LINES:
            self.spoken = now
            self.speak(now)

    def speak(self, now: float) -> None:
        seconds = max(now - self.started, 1e-9)
        rate = (self.done - self.first) / seconds
        of_total = "" if self.total is None else f"/{self.total}"
        left = ""
        if self.total is not None and rate > 0:
            left = f", {max(self.total - self.done, 0) / rate:.0f} s left"
        values = "".join(f", {name} {value}" for name, value in self.shown.items())
        say(f"{self.description}: {self.done}{of_total} {self.unit}, {rate:.1f}/s{left}{values}")


class _Bar:
    """Progress for a terminal."""

    def __init__(self, total: int | None, description: str, unit: str, done: int) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn(unit),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[shown]}"),
            console=Console(stderr=True),
        )
        self.task = self.bar.add_task(description, total=total, completed=done, shown="", rate="")
        self.done = self.first = done
        self.started = time.monotonic()

    def advance(self, steps: int = 1, **shown: object) -> None:
        text = " ".join(f"{name} {value}" for name, value in shown.items())
        self.done += steps
        seconds = max(time.monotonic() - self.started, 1e-9)
        self.bar.update(self.task, rate=f"{(self.done - self.first) / seconds:.1f}/s")
        if shown:
            self.bar.update(self.task, shown=text)
        self.bar.advance(self.task, steps)


@contextmanager
def progress(
    total: int | None, description: str, unit: str = "steps", done: int = 0
) -> Iterator[Progress]:
    """A bar on a terminal, a line every ten seconds elsewhere; both on stderr."""
    if sys.stderr.isatty() and LINES_ONLY not in os.environ:
        bar = _Bar(total, description, unit, done)
        with bar.bar:
            yield bar
        return
    lines = _Lines(total, description, unit, done)
    try:
        yield lines
    finally:
        lines.speak(time.monotonic())


class MetricsLog:
    """metrics.jsonl of a run folder: one JSON object a line, in the order of steps."""

    def __init__(self, folder: Path, *, after: int = 0, tensorboard: bool = False) -> None:
        """Open for appending; lines beyond step `after`, left by a killed run, are dropped."""
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "metrics.jsonl"
        self._keep(after)
        self.file = self.path.open("a", encoding="utf-8")
        self.board = _tensorboard(folder, after) if tensorboard else None

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append the values of a step."""
        self.file.write(json.dumps({"step": step, **values}) + "\n")
        self.file.flush()
        if self.board is not None:
            for name, value in values.items():
                self.board.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close."""
        self.file.close()
        if self.board is not None:
            self.board.close()

    def _keep(self, after: int) -> None:
        if not self.path.exists():
            return
        kept = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line)["step"] <= after:
                    kept.append(line)
            except (ValueError, KeyError):
                say(f"{self.path}: dropped a torn line")
        self.path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")


def _tensorboard(folder: Path, after: int):
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        from blip.errors import BlipError

        raise BlipError("TensorBoard is required here: pip install 'blip[tensorboard]'") from error
    return SummaryWriter(str(folder / "tensorboard"), purge_step=after + 1)
