"""Lines and a progress bar for people, metrics.jsonl for machines."""

import io
import json
import os
import secrets
import sys
import time
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TextIO

from blip.errors import BlipError, first_line
from blip.files import json_text, write_atomically
from blip.installed import need

if TYPE_CHECKING:
    from PIL.Image import Image

SECONDS_BETWEEN_LINES = 10.0
LINES_ONLY = "BLIP_LINES"
"""Environment variable: where it is set, progress comes as lines even on a terminal."""


def say(text: str) -> None:
    """Print a line to stderr, with what is not `printable` escaped; results go to stdout.

    Of the processes that torchrun started, only rank 0 prints.
    """
    if "WORLD_SIZE" in os.environ and os.environ.get("RANK", "0") != "0":
        return
    print(printable(text), file=sys.stderr, flush=True)


@cache
def say_once(text: str) -> None:
    """Print a line as `say` does, but once: a command looks at the same files more than once."""
    say(text)


def printable(text: str | os.PathLike[str]) -> str:
    """A path or a text for one line of output: control characters and invalid UTF-8 are escaped.

    A line break in a file name would make two lines of one.
    """
    return "".join(_printable(letter) for letter in os.fspath(text))


def _printable(letter: str) -> str:
    kind = unicodedata.category(letter)
    if kind == "Cs" and 0xDC80 <= ord(letter) <= 0xDCFF:
        return f"\\x{ord(letter) - 0xDC00:02x}"
    if kind in ("Cc", "Cs", "Zl", "Zp"):
        return letter.encode("unicode_escape").decode()
    return letter


class Progress(Protocol):
    """A progress bar, or lines where stderr is not a terminal."""

    def advance(self, steps: int = 1, **shown: object) -> None:
        """Count `steps` more as done and show the given values beside the bar."""
        ...


class _Lines:
    """Progress for a log file: a line every few seconds."""

    def __init__(self, total: int | None, description: str, unit: str, done: int) -> None:
        self.total, self.description, self.unit = total, description, unit
        self.done = self.first = done
        self.started = time.monotonic()
        self.printed = self.started
        self.shown: dict[str, object] = {}

    def advance(self, steps: int = 1, **shown: object) -> None:
        self.done += steps
        self.shown |= shown
        now = time.monotonic()
        if now - self.printed >= SECONDS_BETWEEN_LINES:
            self.printed = now
            self.print_line(now)

    def print_line(self, now: float) -> None:
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
            # Lines of results go above the bar on a terminal, and into a file as they are.
            redirect_stdout=sys.stdout.isatty(),
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
        lines.print_line(time.monotonic())


class Board(Protocol):
    """A service that also shows the metrics and pictures of a run."""

    def show_values(self, step: int, values: Mapping[str, float]) -> None:
        """Add the values of a step."""
        ...

    def show_picture(self, step: int, name: str, picture: "Image") -> None:
        """Add a picture."""
        ...

    def close(self) -> None:
        """Flush and close."""
        ...


class MetricsLog:
    """metrics.jsonl of a run folder: one JSON object a line, in the order of steps.

    Pictures go to `NAME/step-00000100.png`. TensorBoard and Weights & Biases show both, if enabled.
    """

    def __init__(
        self,
        folder: Path,
        *,
        after: int = 0,
        tensorboard: bool = False,
        wandb: str | None = None,
        writes: bool = True,
    ) -> None:
        """Open for appending, without the lines that a killed run left beyond step `after`.

        `wandb` names a project; a restarted run continues there. `writes` False, for ranks other
        than 0, writes nothing. Raises UsageError if a package is missing.
        """
        self.folder, self.path = folder, folder / "metrics.jsonl"
        self.boards: list[Board] = []
        self.file: TextIO | None = None
        if not writes:
            return
        folder.mkdir(parents=True, exist_ok=True)
        self._drop_after(after)
        if tensorboard:
            self.boards.append(_TensorBoard(folder, after))
        if wandb is not None:
            self.boards.append(_WeightsAndBiases(folder, wandb))
        self.file = self.path.open("a", encoding="utf-8")

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Append the values of a step; null stands for values that are not finite."""
        if self.file is None:
            return
        self.file.write(json_text({"step": step, **values}) + "\n")
        self.file.flush()
        for board in self.boards:
            board.show_values(step, values)

    def write_picture(self, step: int, name: str, picture: "Image") -> None:
        """Write a picture of a step into the folder `name` of the run."""
        if self.file is None:
            return
        path = self.folder / name / f"step-{step:08d}.png"
        path.parent.mkdir(exist_ok=True)
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        write_atomically(path, buffer.getvalue())
        for board in self.boards:
            board.show_picture(step, name, picture)

    def close(self) -> None:
        """Flush and close."""
        if self.file is not None:
            self.file.close()
        for board in self.boards:
            board.close()

    def _drop_after(self, after: int) -> None:
        if not self.path.exists():
            return
        kept = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                values = json.loads(line)
                if values["step"] <= after:
                    kept.append(json_text(values))
            except (ValueError, KeyError, TypeError):
                say(f"{self.path}: dropped an incomplete line")
        write_atomically(self.path, "".join(line + "\n" for line in kept))


class _TensorBoard:
    """Event files in the folder `tensorboard` of the run."""

    def __init__(self, folder: Path, after: int) -> None:
        board = need("torch.utils.tensorboard", "TensorBoard", "tensorboard")
        self.writer = board.SummaryWriter(str(folder / "tensorboard"), purge_step=after + 1)

    def show_values(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def show_picture(self, step: int, name: str, picture: "Image") -> None:
        import numpy as np

        pixels = np.asarray(picture.convert("RGB"))
        self.writer.add_image(name, pixels, step, dataformats="HWC")

    def close(self) -> None:
        self.writer.close()


class _WeightsAndBiases:
    """A run of a Weights & Biases project; its id is kept in the run folder."""

    def __init__(self, folder: Path, project: str) -> None:
        self.library = need("wandb", "Weights & Biases", "wandb")
        kept = folder / "wandb-id.txt"
        if not kept.exists():
            kept.write_text(secrets.token_hex(4), encoding="utf-8")
        config = folder / "config.json"
        try:
            self.run = self.library.init(
                project=project,
                name=folder.name,
                id=kept.read_text(encoding="utf-8"),
                resume="allow",
                dir=str(folder),
                config=json.loads(config.read_text(encoding="utf-8")) if config.exists() else None,
                allow_val_change=True,
            )
        except Exception as error:
            raise BlipError(
                f"Weights & Biases: {first_line(error)}; WANDB_MODE=offline logs to this disk only"
            ) from error
        # A resumed run goes back some steps, which the library's own counter would refuse.
        self.run.define_metric("*", step_metric="step")

    def show_values(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log({"step": step, **values})

    def show_picture(self, step: int, name: str, picture: "Image") -> None:
        self.run.log({"step": step, name: self.library.Image(picture)})

    def close(self) -> None:
        self.run.finish()
