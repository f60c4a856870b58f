"""A worker: loads its models and processes shards, with smaller batches where memory runs out."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import final

import torch

from blip.capfilt.engine.protocol import EveryItemError
from blip.capfilt.filters.language import detect_languages
from blip.capfilt.ledger.records import BatchDone, Counts, ShardOutcome
from blip.capfilt.models.checkpoints import ModelSource
from blip.capfilt.models.protocols import Models, OutOfMemoryError
from blip.capfilt.shards.layout import Layout
from blip.capfilt.shards.settings import Settings
from blip.capfilt.shards.source import ShardTask
from blip.capfilt.stages.pictures import DECODERS
from blip.capfilt.stages.shard import process_shard
from blip.errors import BlipError, CompileError, NotFiniteError
from blip.log import say


@final
@dataclass(frozen=True, slots=True)
class ShardWorkers:
    """Makes workers; it is sent to the process or actor in which one works."""

    layout: Layout
    settings: Settings
    models: ModelSource
    decoders: int = DECODERS
    """Threads of each worker that decode pictures."""

    def __call__(self, place: int) -> "ShardWorker":
        """A worker with its models loaded."""
        # Sums in another order give other bytes: the output must not depend on the number of cores.
        torch.set_num_threads(1)
        if self.settings.rules.languages:
            # Where the library is missing, this raises before anything is written.
            detect_languages(["a text"])
        expected = self.settings.captioner, self.settings.filter
        models = self.models.load(place, expected)
        return ShardWorker(self.layout, self.settings, models, self.decoders)


@final
@dataclass(slots=True)
class ShardWorker:
    """Processes shards with its models."""

    layout: Layout
    settings: Settings
    models: Models
    decoders: int

    def __call__(self, task: ShardTask) -> Generator[BatchDone, None, ShardOutcome]:
        """Process one shard.

        When memory runs out, the whole shard is done again with half as many images at a time: a
        shard has one batch size, which its marker names, as other batches may differ in their last
        bits. The next shard starts with the full size: its bytes must not depend on which shards
        this worker had before.
        """
        size = self.settings.batch_size
        while True:
            reported = Counts()
            try:
                return (yield from self._attempt(task, size, reported))
            except OutOfMemoryError as error:
                if size == 1:
                    raise EveryItemError(f"no memory for a single image: {error}") from error
                size //= 2
            # Captured passes of larger batches hold memory that the smaller ones need.
            self.models.forget()
            say(f"capfilt: shard {task.name}: out of memory; {size} images at a time")
            yield BatchDone(counts=reported.negative())

    def _attempt(
        self, task: ShardTask, size: int, reported: Counts
    ) -> Generator[BatchDone, None, ShardOutcome]:
        steps = process_shard(task, self.layout, self.settings, self.models, size, self.decoders)
        while True:
            try:
                news = next(steps)
            except StopIteration as end:
                return end.value
            except CompileError as error:
                raise EveryItemError(str(error)) from error
            except NotFiniteError as error:
                self._refuse_broken_captioner()
                raise BlipError(f"a picture that the captioner cannot read: {error}") from error
            reported.add(news.counts)
            yield news

    def _refuse_broken_captioner(self) -> None:
        """Raise EveryItemError where the captioner gives NaN for a plain grey picture, too."""
        captioner = self.models.captioner
        try:
            captioner.caption([torch.zeros(3, captioner.image_size, captioner.image_size)], [[0]])
        except NotFiniteError as error:
            raise EveryItemError(
                "the captioner gives NaN for every picture: its weights are broken, or its values "
                "overflow; choose another --captioner, or --precision float32"
            ) from error
