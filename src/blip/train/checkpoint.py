"""Checkpoints of a run under way: whole or not there, the newest whole one is gone on from."""

import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blip.errors import BlipError
from blip.files import atomic_folder
from blip.log import say

STATE = "training.pt"

SaveModel = Callable[[Path, Mapping[str, Tensor]], None]
"""`(folder, weights of the step)`: writes the model, so that others can open it."""


@dataclass(frozen=True, slots=True)
class Found:
    """A checkpoint to go on from."""

    step: int
    state: dict[str, Any]


class Checkpoints:
    """The folder `checkpoints/` of a run: `step-00000100/` holds the model and `training.pt`."""

    def __init__(self, run: Path, *, keep: int, save_model: SaveModel) -> None:
        self.folder = run / "checkpoints"
        self.keep = keep
        self.save_model = save_model

    def write(self, step: int, state: dict[str, Any]) -> None:
        """Write the checkpoint of a step, then drop all but the newest ones."""
        with atomic_folder(self.folder / f"step-{step:08d}") as folder:
            self.save_model(folder, state["weights"])
            torch.save(state | {"step": step}, folder / STATE)
        for _, old in self._all()[: -self.keep]:
            shutil.rmtree(old)

    def newest(self) -> Found | None:
        """The newest checkpoint that can be read; a torn one is named and passed over."""
        for step, folder in reversed(self._all()):
            try:
                path = folder / STATE
                state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            except Exception as error:
                say(f"{folder} cannot be read and is passed over: {type(error).__name__}")
                continue
            if state.get("step") == step:
                return Found(step, state)
            say(f"{folder} is not of the step that its name says and is passed over")
        return None

    def remove(self) -> None:
        """Drop all of them, once the run is complete."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _all(self) -> list[tuple[int, Path]]:
        if not self.folder.is_dir():
            return []
        found = [
            (int(path.name.removeprefix("step-")), path)
            for path in self.folder.glob("step-*")
            if path.name.removeprefix("step-").isdigit()
        ]
        return sorted(found)


def random_state() -> dict[str, Any]:
    """The state of every random source that training draws from."""
    state: dict[str, Any] = {"torch": torch.get_rng_state()}
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    words = torch.from_numpy(np.asarray(keys, dtype=np.int64))
    state["numpy"] = [kind, words, position, has_gauss, cached]
    version, words, gauss = random.getstate()
    state["python"] = [version, list(words), gauss]
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
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
        torch.cuda.set_rng_state_all(state["cuda"])
