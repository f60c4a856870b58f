"""Models that read pictures by their mean colour: quick, exact, and without weights."""

import io
import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from blip.capfilt.config import CapFiltConfig
from blip.capfilt.models.protocols import Models, OutOfMemoryError, Score
from blip.data.readers.shards import read_shard
from blip.data.sample import Sample
from blip.data.writers.shards import ShardWriter
from blip.log import say

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
NAMES = tuple(COLOURS)


def config(tmp_path: Path, out: str = "out", **more) -> CapFiltConfig:
    data = (str(tmp_path / "web"),)
    return CapFiltConfig(
        **{
            "captioner": "c",
            "filter": "f",
            "data": data,
            "out": str(tmp_path / out),
            "batch_size": 3,
            "workers": 1,
            **more,
        }
    )


def picture(colour: str, kind: str = "PNG", size: int = 24) -> bytes:
    pixels = np.full((size, size, 3), COLOURS[colour], np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def colour_of(image: Tensor) -> str:
    return NAMES[int(image.mean(dim=(1, 2)).argmax())]


@dataclass(frozen=True)
class FakeCaptioner:
    """Names the colour; an odd seed makes it name the next one."""

    image_size: int = 8

    def caption(self, images: Sequence[Tensor], seeds: Sequence[Sequence[int]]) -> list[list[str]]:
        texts = []
        for image, of_image in zip(images, seeds, strict=True):
            true = NAMES.index(colour_of(image))
            texts.append([f" a {NAMES[(true + seed % 2) % 3]} square {seed}" for seed in of_image])
        return texts


@dataclass(frozen=True)
class FakeFilter:
    """0.9 where the colour is named, 0.1 otherwise."""

    image_size: int = 16
    room: int | None = None

    def score(self, images: Sequence[Tensor], texts: Sequence[Sequence[str]]) -> list[list[Score]]:
        if self.room is not None and len(images) > self.room:
            raise OutOfMemoryError("CUDA out of memory")
        assert all(image.shape == (3, 16, 16) for image in images)
        assert all(texts), "a picture without texts was sent to the filter"
        return [
            [Score(0.9, 0.5) if colour_of(image) in t.split() else Score(0.1, -0.25) for t in row]
            for image, row in zip(images, texts, strict=True)
        ]

    def begin(
        self, images: Sequence[Tensor], texts: Sequence[Sequence[str]]
    ) -> Callable[[], list[list[Score]]]:
        found = self.score(images, texts)
        return lambda: found


@dataclass(frozen=True)
class FakeModels:
    """A source of fakes; `deadly` kills its process at a shard's first batch, once or always."""

    captioner: str = "fake-captioner"
    filter: str = "fake-filter"
    deadly: str | None = None
    """Folder of a file that says whether the process has been killed before."""
    times: int = 1
    workers: int = 1
    auto: int = 4
    room: int | None = None
    """Images that go through at a time; none is any number."""

    def fingerprints(self) -> tuple[str, str]:
        return self.captioner, self.filter

    def default_workers(self, batch_size: int) -> int:
        return self.workers

    def batch_size(self) -> int:
        return self.auto

    def load(self, place: int, expected: tuple[str, str]) -> Models:
        assert torch.get_num_threads() == 1
        captioner = FakeCaptioner()
        if self.deadly is not None:
            return Models(DeadlyCaptioner(captioner, Path(self.deadly), self.times), FakeFilter())
        return Models(captioner, FakeFilter(room=self.room), forget=lambda: say("forgotten"))


@dataclass(frozen=True)
class DeadlyCaptioner:
    """Kills its process `times` times, as the out-of-memory killer does."""

    inner: FakeCaptioner
    folder: Path
    times: int

    @property
    def image_size(self) -> int:
        return self.inner.image_size

    def caption(self, images: Sequence[Tensor], seeds: Sequence[Sequence[int]]) -> list[list[str]]:
        for number in range(self.times):
            # Made or refused in one step: of two workers at once, one takes the number.
            with suppress(FileExistsError):
                (self.folder / str(number)).touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)
        return self.inner.caption(images, seeds)


@dataclass(frozen=True)
class BrokenModels:
    """A source whose models cannot be loaded."""

    def fingerprints(self) -> tuple[str, str]:
        return "a", "b"

    def default_workers(self, batch_size: int) -> int:
        return 2

    def batch_size(self) -> int:
        return 4

    def load(self, place: int, expected: tuple[str, str]) -> Models:
        raise RuntimeError("no such weights")


def web_shard(path: Path, numbers: range) -> None:
    """Squares; every third web text is wrong, every fifth empty."""
    with ShardWriter(path) as writer:
        for number in numbers:
            colour = NAMES[number % 3]
            said = colour if number % 3 else NAMES[(number + 1) % 3]
            text = "" if number % 5 == 0 else f"Buy a {said} square!"
            writer.write(f"{number:06d}", picture(colour), "png", text, {"url": f"u{number}"})


def web_data(folder: Path, shards: int = 3, samples: int = 7) -> Path:
    for number in range(shards):
        start = number * samples
        web_shard(folder / f"{number:05d}.tar", range(start, start + samples))
    return folder


def read_kept(shard: Path) -> list[Sample]:
    """What a job wrote of a shard; where nothing was kept it wrote no tar."""
    return list(read_shard(shard)) if shard.exists() else []


def output_bytes(out: Path) -> dict[str, bytes]:
    """All files that a job leaves, without timings and the configuration."""
    left_out = {"timing.json", "status.json", "config.json", ".lock"}
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name not in left_out
    }


def die_at_file(step: int) -> None:
    """From now on this process dies by SIGKILL before it puts file `step`, from 0, in its place."""
    replace, left = Path.replace, [step]

    def replace_or_die(self: Path, target: Path) -> Path:
        if Path(target).name != "status.json":
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
        return replace(self, target)

    Path.replace = replace_or_die


def exit_code_of(work: Callable[..., object], *arguments: object) -> int | None:
    """Of a process of its own that does some work; negative where a signal ended it."""
    child = multiprocessing.get_context("fork").Process(target=work, args=arguments)
    child.start()
    child.join(60)
    return child.exitcode
