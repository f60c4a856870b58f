"""Captioner and filter from their checkpoint folders."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, final

import torch
from torch import Tensor

from blip.capfilt.models import Models, Score
from blip.errors import UsageError
from blip.generation.config import SearchConfig
from blip.inference.captioner import Captioner
from blip.inference.checkpoint import fingerprint
from blip.inference.matcher import Matcher


class ModelSource(Protocol):
    """Knows the models of a job before they are loaded; travels to worker processes."""

    def fingerprints(self) -> tuple[str, str]:
        """Of captioner and filter; raises UsageError where there is none."""
        ...

    def default_workers(self) -> int:
        """How many workers this machine has room for."""
        ...

    def load(self, place: int) -> Models:
        """The models of the worker at a place, from 0."""
        ...


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointModels:
    """The models of two checkpoint or run folders."""

    captioner: str
    filter: str
    search: SearchConfig
    device: str
    """auto, cpu, cuda or cuda:N; auto and cuda spread workers over the GPUs that there are."""

    def fingerprints(self) -> tuple[str, str]:
        """Of the weights, as the ledger names them."""
        _check_device(self.device)
        return fingerprint(self.captioner), fingerprint(self.filter)

    def default_workers(self) -> int:
        """One a GPU that is used, otherwise one a CPU that we may use."""
        if self._device(0) == "cpu":
            return _cpus()
        return 1 if ":" in self.device else torch.cuda.device_count()

    def load(self, place: int) -> Models:
        """Load both models onto the device of a worker."""
        device = self._device(place)
        return Models(
            captioner=_CheckpointCaptioner(Captioner.load(self.captioner, device), self.search),
            filter=_CheckpointFilter(Matcher.load(self.filter, device)),
        )

    def _device(self, place: int) -> str:
        if self.device == "auto" and not torch.cuda.is_available():
            return "cpu"
        if self.device in ("auto", "cuda"):
            return f"cuda:{place % torch.cuda.device_count()}"
        return self.device


@final
@dataclass(frozen=True, slots=True)
class _CheckpointCaptioner:
    captioner: Captioner
    search: SearchConfig

    @property
    def image_size(self) -> int:
        return self.captioner.model.config.vision.image_size

    def caption(self, images: Sequence[Tensor], seeds: Sequence[Sequence[int]]) -> list[list[str]]:
        count = len(seeds[0])
        return self.captioner.captions(
            images, count, self.search, seeds=seeds, batch_size=len(images)
        )


@final
@dataclass(frozen=True, slots=True)
class _CheckpointFilter:
    matcher: Matcher

    @property
    def image_size(self) -> int:
        return self.matcher.model.config.vision.image_size

    def score(self, images: Sequence[Tensor], texts: Sequence[Sequence[str]]) -> list[list[Score]]:
        found = self.matcher.scores(images, texts, batch_size=len(images))
        return [[Score(one.probability, one.cosine) for one in row] for row in found]


def _check_device(device: str) -> None:
    if device in ("auto", "cpu"):
        return
    kind, _, number = device.partition(":")
    if kind != "cuda" or not (number.isdigit() or device == "cuda"):
        raise UsageError(f"device must be auto, cpu, cuda or cuda:N, got {device}")
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(number or 0) >= found:
        raise UsageError(f"device {device} is not there; this machine has {found} CUDA devices")


def _cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
