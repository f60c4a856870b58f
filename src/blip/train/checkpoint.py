"""Checkpoints of a run under way: whole or not there; the run resumes from the newest one."""

import glob
import os
import random
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blip.errors import BlipError, UsageError, first_line, is_out_of_memory
from blip.files import (
    ABSENT,
    CHECKSUMS,
    atomic_folder,
    disk_is_full,
    find_damage,
    read_json_object,
    remove_leftovers,
    status_of,
    write_checksums,
)
from blip.log import say
from blip.outputs import CHECKPOINT, TRAINING_STATE, remove_known
from blip.train.snapshot import snapshot

FORMER_NAMES = {"followers": "momentum_encoders", "task": "state"}
"""Names in the state of a run as earlier versions wrote them, and as they are now."""

SaveModel = Callable[[Path, Mapping[str, Tensor]], None]
"""`(folder, weights)`: writes the model, so that others can open it."""


class Checkpoints:
    """The folder `checkpoints/` of a run: `step-00000100/` holds the model and `training.pt`.

    `begin` copies the state and writes it in a thread while training continues; `wait` waits for
    the end of it. A checkpoint is renamed into place when it is whole, and older ones are dropped
    only then: a process killed at any moment leaves the one before.
    """

    def __init__(self, run: Path, *, keep: int, save_model: SaveModel) -> None:
        self.folder = run / "checkpoints"
        self.keep = keep
        self.save_model = save_model
        self._under_way: Thread | None = None
        self._failed: tuple[int, Exception] | None = None
        self._damaged: set[int] = set()

    def begin(self, step: int, state: dict[str, Any], *, drop: bool = True) -> None:
        """Copy the state of a step, and write it and the model while the caller continues.

        Waits for the checkpoint before, whose failure is raised as by `wait`. Older ones stay
        where not `drop`. Weights that are not finite are not written.
        """
        self.wait()
        self._under_way = Thread(
            target=self._write,
            args=(step, snapshot(state) | {"step": step}, drop),
            name=f"checkpoint of step {step}",
        )
        self._under_way.start()

    def wait(self) -> None:
        """Return when nothing is being written; raises BlipError if that went wrong."""
        if self._under_way is not None:
            self._under_way.join()
            self._under_way = None
        if self._failed is not None:
            step, error = self._failed
            self._failed = None
            why = "No space left on device" if disk_is_full(error) else first_line(error)
            raise BlipError(
                f"the checkpoint of step {step} could not be written to {self.folder}: {why}; "
                f"{self._kept()}; "
                f"{'free some space, then ' if disk_is_full(error) else ''}run the same command "
                "again to resume"
            ) from error

    def newest(self) -> int | None:
        """The step of the newest checkpoint that is whole; damaged ones are named and skipped.

        All its files are read, to compare their checksums. None where there are no checkpoints.
        Raises BlipError if all are damaged, and if one cannot be read that may be whole.
        """
        self.wait()
        steps = _steps(self.folder)
        for step, folder in reversed(steps):
            if _is_whole(folder):
                return step
            self._damaged.add(step)
        if steps:
            raise BlipError(
                f"no checkpoint in {self.folder} is whole, and the run cannot resume; move that "
                "folder away to start from the beginning, or choose another --out"
            )
        return None

    def read(self, step: int) -> dict[str, Any]:
        """The state in a checkpoint that `newest` found, with its `step`.

        Raises BlipError if it cannot be read.
        """
        folder = self.folder / _name(step)
        try:
            # Not mapped: the run continues with these tensors, and without the file.
            state = _load(folder, mmap=False)
        except Exception as error:
            raise _unreadable(f"the checkpoint {folder}", error) from error
        if state.get("step") != step:
            raise BlipError(f"the checkpoint {folder} holds another step than its name says")
        return {FORMER_NAMES.get(name, name): part for name, part in state.items()}

    def last_good(self) -> Path | None:
        """The newest checkpoint that was not written amid updates without a finite loss.

        Those that cannot be read are passed over.
        """
        for _, folder in reversed(_steps(self.folder)):
            # The message of another error names the checkpoint: that error must not be lost.
            with suppress(Exception):
                if not _load(folder).get("nonfinite_in_a_row"):
                    return folder
        return None

    def remove(self) -> None:
        """Drop all of them, once the run is complete."""
        self.wait()
        for _, folder in _steps(self.folder):
            _remove(folder)
        if self.folder.is_dir() and not self.folder.is_symlink() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _write(self, step: int, state: dict[str, Any], drop: bool) -> None:
        try:
            if name := find_not_finite(state["weights"]):
                say(f"step {step}: no checkpoint is written, as {name} is not finite")
                return
            with atomic_folder(self.folder / _name(step), replaces=CHECKPOINT) as folder:
                self.save_model(folder, state["weights"])
                # To a file of ours: of its own torch does not say why it cannot be written.
                with (folder / TRAINING_STATE).open("wb") as file:
                    torch.save(state, file)
                write_checksums(folder)
            self._damaged.discard(step)
            if drop:
                self._drop(step)
        except Exception as error:
            # This is a thread: the next call of the loop raises it.
            self._failed = step, error

    def _drop(self, step: int) -> None:
        steps = _steps(self.folder)
        # Damaged ones go first: they must not count among those that are kept.
        damaged = [path for number, path in steps if number in self._damaged]
        # A later one that was not found damaged may be whole.
        earlier = [path for number, path in steps if number <= step and path not in damaged]
        for old in [*damaged, *earlier][: -self.keep]:
            _remove(old)
        for leftover in self.folder.glob(".step-*.*"):
            place = leftover.with_name(leftover.name[1:].rpartition(".")[0])
            if _step_of(place) is not None:
                remove_leftovers(place, CHECKPOINT)

    def _kept(self) -> str:
        try:
            steps = [step for step, _ in _steps(self.folder)]
        except BlipError:
            # The error that is being told matters more.
            return "those before it cannot be read now"
        return f"the one of step {steps[-1]} is complete" if steps else "there is none before it"


def find_not_finite(weights: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor that holds NaN or infinity; None where all is finite."""
    return next(
        (
            name
            for name, tensor in weights.items()
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all())
        ),
        None,
    )


def adopt(source: Path, run: Path) -> Path | None:
    """Let the run folder `run` start from a checkpoint of another run; returns that checkpoint.

    `source` is a folder `step-NNNNNNNN`, or a run that holds some: its newest whole one. Where
    `run` has a checkpoint of its own nothing is done, so that the same command can be given again.
    Raises UsageError if `source` holds no whole checkpoint, and BlipError if one cannot be
    read that may be whole.
    """
    checkpoints = run / "checkpoints"
    if _steps(checkpoints):
        return None
    for folder in (folder for _, folder in reversed(_candidates(source)) if _is_whole(folder)):
        with atomic_folder(checkpoints / folder.name, replaces=CHECKPOINT) as own:
            shutil.copytree(folder, own, dirs_exist_ok=True, copy_function=_link)
        return folder
    raise _no_checkpoint(source)


def check_source(source: Path, run: Path) -> None:
    """Raise UsageError where `adopt` would find nothing at `source`; reads no weights.

    Raises BlipError if `source` or `run` cannot be read.
    """
    if _steps(run / "checkpoints"):
        return
    try:
        found = any((folder / TRAINING_STATE).is_file() for _, folder in _candidates(source))
    except OSError as error:
        raise _unreadable(f"the checkpoint in {source}", error) from error
    if not found:
        raise _no_checkpoint(source)


def has_checkpoints(run: Path) -> bool:
    """Whether a run folder holds checkpoints to resume from, complete or damaged.

    Raises BlipError if that folder cannot be read.
    """
    return bool(_steps(run / "checkpoints"))


def _candidates(source: Path) -> list[tuple[int, Path]]:
    """The checkpoints that a folder is, or that a run holds, oldest first."""
    named = _step_of(source)
    return [(named, source)] if named is not None else _steps(source / "checkpoints")


def _no_checkpoint(source: Path) -> UsageError:
    return UsageError(
        f"{source} is not a checkpoint to resume from; give a folder step-NNNNNNNN that holds "
        f"{TRAINING_STATE}, or a run with some in checkpoints/"
    )


def _link(source: str, target: str) -> None:
    """A second name for a file, which is never written to again; a copy on another disk."""
    try:
        # A link to a relative link would lead nowhere from another folder.
        os.link(os.path.realpath(source), target)
    except OSError:
        shutil.copyfile(source, target)


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _steps(folder: Path) -> list[tuple[int, Path]]:
    """The checkpoints in a folder, whole or damaged, oldest first.

    Raises BlipError if the folder cannot be read: `glob` would find nothing there.
    """
    try:
        numbered = [(_step_of(path), path) for path in folder.iterdir()]
    except ABSENT:
        return []
    except OSError as error:
        raise _unreadable(f"the folder {folder}", error) from error
    return sorted((step, path) for step, path in numbered if step is not None)


def _step_of(folder: Path) -> int | None:
    number = folder.name.removeprefix("step-")
    return int(number) if folder.name != number and number.isdigit() else None


def _is_whole(folder: Path) -> bool:
    """Whether a run can resume from a checkpoint; says why where it is damaged.

    Raises BlipError if it cannot be read and damage is not the reason.
    """
    try:
        has_checksums = status_of(folder / CHECKSUMS) is not None
        damage = _damage_of(folder, has_checksums=has_checksums)
    except Exception as error:
        raise _unreadable(f"the checkpoint {folder}", error) from error
    if damage is not None:
        say(f"skipping the checkpoint {folder}: {damage}")
    elif not has_checksums:
        say(f"{folder} has no {CHECKSUMS}, as earlier versions wrote it: it is not verified")
    return damage is None


def _damage_of(folder: Path, *, has_checksums: bool) -> str | None:
    """What is damaged in a checkpoint, if anything is.

    Raises the errors of torch and the system where it cannot be read and may be whole.
    """
    try:
        state = _load(folder)
    except ABSENT:
        return f"{TRAINING_STATE} cannot be read"
    except Exception as error:
        # The system, or a torch that is too old, can fail at a file that is as it was written.
        may_pass = isinstance(error, OSError) or is_out_of_memory(error)
        if may_pass or (has_checksums and find_damage(folder) is None):
            raise
        return f"{TRAINING_STATE} cannot be read"
    if state.get("step") != _step_of(folder):
        return "it holds another step than its name says"
    return find_damage(folder) if has_checksums else None


def _load(folder: Path, *, mmap: bool = True) -> dict[str, Any]:
    """The state in a checkpoint.

    Raises the errors of torch, pickle and the system, of which each has its own for damage.
    """
    state = torch.load(folder / TRAINING_STATE, map_location="cpu", weights_only=True, mmap=mmap)
    if not isinstance(state, dict):
        raise TypeError(f"{TRAINING_STATE} holds no state of a training")
    return state


def _unreadable(what: str, error: Exception) -> BlipError:
    return BlipError(
        f"{what} cannot be read: {first_line(error)}; nothing was changed: run the same command "
        "again when it can be read, or move it away to do without it"
    )


def _remove(folder: Path) -> None:
    """Remove a checkpoint: the files that its checksums name, and those that every one has."""
    listed = read_json_object(folder / CHECKSUMS) or {}
    names = [name for name in listed if name == Path(name).name]
    remove_known(folder, [*CHECKPOINT, *map(glob.escape, names)])
    if not any(folder.iterdir()):
        folder.rmdir()


def random_state() -> dict[str, Any]:
    """The state of every random source that training draws from; of one GPU, the current one."""
    state: dict[str, Any] = {"torch": torch.get_rng_state()}
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    words = torch.from_numpy(np.asarray(keys, dtype=np.int64))
    state["numpy"] = [kind, words, position, has_gauss, cached]
    version, words, gauss = random.getstate()
    state["python"] = [version, list(words), gauss]
    # Not where training on the CPU would be what starts it.
    if torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: dict[str, Any]) -> None:
    """Undo `random_state`; raises BlipError if it was made by other means."""
    try:
        torch.set_rng_state(state["torch"])
        kind, keys, position, has_gauss, cached = state["numpy"]
        words = keys.numpy().astype(np.uint32)
        np.random.set_state((kind, words, position, has_gauss, cached))
        version, words, gauss = state["python"]
        random.setstate((version, tuple(words), gauss))
    except (KeyError, ValueError) as error:
        raise BlipError(f"the checkpoint's random state cannot be restored: {error}") from error
    if "cuda" in state and torch.cuda.is_initialized():
        torch.cuda.set_rng_state(state["cuda"])
