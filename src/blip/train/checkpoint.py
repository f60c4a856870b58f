"""Checkpoints of a run under way: whole or not there, the newest whole one is gone on from."""

import os
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blip.errors import BlipError, UsageError, first_line
from blip.files import atomic_folder
from blip.log import say
from blip.nn.snapshot import snapshot

STATE = "training.pt"

SaveModel = Callable[[Path, Mapping[str, Tensor]], None]
"""`(folder, weights of the step)`: writes the model, so that others can open it."""


@dataclass(frozen=True, slots=True)
class Found:
    """A checkpoint to go on from."""

    step: int
    state: dict[str, Any]


class Checkpoints:
    """The folder `checkpoints/` of a run: `step-00000100/` holds the model and `training.pt`.

    `begin` copies the state and writes it in a thread while training goes on; `write` waits for
    the end of it. A checkpoint is renamed into place when it is whole, and older ones are dropped
    only then: a process killed at any moment leaves the one before.
    """

    def __init__(self, run: Path, *, keep: int, save_model: SaveModel) -> None:
        self.folder = run / "checkpoints"
        self.keep = keep
        self.save_model = save_model
        self._under_way: Thread | None = None
        self._failed: tuple[int, Exception] | None = None

    def write(self, step: int, state: dict[str, Any]) -> None:
        """Write the checkpoint of a step, then drop all but the newest ones.

        Raises BlipError where it cannot be written.
        """
        self.begin(step, state)
        self.wait()

    def begin(self, step: int, state: dict[str, Any]) -> None:
        """Copy the state of a step, and write it and the model while the caller goes on.

        Waits for the checkpoint before, whose failure is raised as by `wait`.
        """
        self.wait()
        self._under_way = Thread(
            target=self._write,
            args=(step, snapshot(state) | {"step": step}),
            name=f"checkpoint of step {step}",
        )
        self._under_way.start()

    def wait(self) -> None:
        """Return when nothing is being written; raises BlipError where that went wrong."""
        if self._under_way is not None:
            self._under_way.join()
            self._under_way = None
        if self._failed is not None:
            step, error = self._failed
            self._failed = None
            raise BlipError(
                f"the checkpoint of step {step} could not be written to {self.folder}: "
                f"{first_line(error)}; the one before it is whole"
            ) from error

    def newest(self) -> Found | None:
        """The newest checkpoint that can be read; a torn one is named and passed over."""
        self.wait()
        for step, folder in reversed(_steps(self.folder)):
            state = _read(step, folder)
            if state is not None:
                return Found(step, state)
        return None

    def remove(self) -> None:
        """Drop all of them, once the run is complete."""
        self.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self, step: int, state: dict[str, Any]) -> None:
        try:
            with atomic_folder(self.folder / f"step-{step:08d}") as folder:
                self.save_model(folder, state["weights"])
                torch.save(state, folder / STATE)
            # Later ones were torn, or passed over: they must not count as those that are kept.
            later = [path for number, path in _steps(self.folder) if number > step]
            for old in [*later, *(p for n, p in _steps(self.folder) if n <= step)][: -self.keep]:
                shutil.rmtree(old)
            for torn in self.folder.glob(".step-*"):
                shutil.rmtree(torn)
        except Exception as error:
            # Nobody is there to be told: the next call of the loop raises it.
            self._failed = step, error


def adopt(source: Path, run: Path) -> None:
    """Let the run folder `run` go on from a checkpoint of another run.

    `source` is a folder `step-NNNNNNNN`, or a run that holds some: its newest whole one. Where
    `run` has a checkpoint of its own nothing is done, so that the same command can be given again.
    Raises UsageError where `source` is none.
    """
    checkpoints = run / "checkpoints"
    if _steps(checkpoints):
        return
    named = _step_of(source)
    given = [(named, source)] if named is not None else _steps(source / "checkpoints")
    for step, folder in reversed(given):
        if _read(step, folder) is not None:
            with atomic_folder(checkpoints / folder.name) as own:
                shutil.copytree(folder, own, dirs_exist_ok=True, copy_function=_link)
            return
    raise UsageError(
        f"{source} is no checkpoint to go on from; give a folder step-NNNNNNNN that holds {STATE}, "
        "or a run with some in checkpoints/"
    )


def _link(source: str, target: str) -> None:
    """A second name for a file, which is never written to again; a copy on another disk."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _steps(folder: Path) -> list[tuple[int, Path]]:
    """The checkpoints in a folder, whole or torn, oldest first."""
    numbered = [(_step_of(path), path) for path in folder.glob("step-*")]
    return sorted((step, path) for step, path in numbered if step is not None)


def _step_of(folder: Path) -> int | None:
    number = folder.name.removeprefix("step-")
    return int(number) if folder.name != number and number.isdigit() else None


def _read(step: int, folder: Path) -> dict[str, Any] | None:
    """The state in a checkpoint; None where it is torn, or not of the step that it is named for."""
    try:
        state = torch.load(folder / STATE, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        say(f"{folder} cannot be read and is passed over: {type(error).__name__}")
        return None
    if state.get("step") == step:
        return state
    say(f"{folder} is not of the step that its name says and is passed over")
    return None


def random_state() -> dict[str, Any]:
    """The state of every random source that training draws from."""
    state: dict[str, Any] = {"torch": torch.get_rng_state()}
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    words = torch.from_numpy(np.asarray(keys, dtype=np.int64))
    state["numpy"] = [kind, words, position, has_gauss, cached]
    version, words, gauss = random.getstate()
    state["python"] = [version, list(words), gauss]
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: dict[str, Any]) -> None:
    """Undo `random_state`; raises BlipError where it was made by other means."""
    try:
        torch.set_rng_state(state["torch"])
        kind, keys, position, has_gauss, cached = state["numpy"]
        words = keys.numpy().astype(np.uint32)
        np.random.set_state((kind, words, position, has_gauss, cached))
        version, words, gauss = state["python"]
        random.setstate((version, tuple(words), gauss))
    except (KeyError, ValueError) as error:
        raise BlipError(f"the checkpoint's random state cannot be restored: {error}") from error
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
