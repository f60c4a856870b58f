"""Batches for training, whose batch `i` depends on `i` alone."""

import json
import signal
import threading
from collections.abc import Iterator, Sequence
from itertools import count
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from blip.data.config import DataConfig
from blip.data.examples.examples import Examples
from blip.data.faults import BadSampleError, BadSamples, Fault
from blip.data.order.choose import open_order
from blip.data.order.order import Order
from blip.errors import BlipError, UsageError
from blip.log import say

ROWS_BEFORE_STOP = 1000
"""Rows after which bad samples may stop a run: of fewer, their share is not known."""
SUBSTITUTES = 64
"""Samples that are tried in the place of a bad one."""

Example = TypeVar("Example")
Batch = TypeVar("Batch")


class Loader(Generic[Example, Batch]):
    """Endless batches over a weighted mixture of sources, for any kind of `examples`.

    An epoch holds every example as often as its source's weight says, in an order drawn from the
    seed and the number of the epoch. Augmentation is drawn from seed and position. So batch `i` is
    the same whenever and however often it is made, and a run resumes by `batches(start=i)`. Small
    sets lie in memory; where shards are remote or large (`DataConfig.stream`) they are read as they
    are needed, and the unit is not the example but the sample with one of its examples, drawn anew.

    `config.batch_size` counts the rows of all `ranks` processes that train together; this loader
    makes those of `rank`, every `ranks`-th row from row `rank` on. Raises UsageError if the
    ranks cannot share a batch evenly.
    """

    def __init__(
        self,
        config: DataConfig,
        examples: Examples[Example, Batch],
        rank: int = 0,
        ranks: int = 1,
        bad_log: Path | None = None,
    ) -> None:
        """Bad samples met in a stream are appended to `bad_log`, a JSON object a line."""
        assert 0 <= rank < ranks
        if config.batch_size % ranks:
            raise UsageError(
                f"batch_size must be a multiple of the {ranks} processes, got {config.batch_size}"
            )
        self.config, self.bad_log = config, bad_log
        self.bad = BadSamples()
        self.rows_made = self.rows_replaced = 0
        self._order = open_order(config, examples.check, examples.noun)
        self.bad.update(self._order.bad)
        if self.bad:
            say(f"left out of training: {self.bad.describe()}")
        self._maker = _BatchMaker(config, self._order, examples, rank, ranks)

    @property
    def num_examples(self) -> int:
        """Examples in the sources, or samples where they are streamed, each counted once."""
        return self._order.size

    @property
    def order(self) -> str:
        """A fingerprint of which example comes at which position."""
        return self._order.fingerprint

    @property
    def former_order(self) -> str:
        """The fingerprint of earlier versions, which did not look at the samples themselves."""
        return self._order.former_fingerprint

    @property
    def batch_size(self) -> int:
        """Rows of a batch, those of all processes together."""
        return self.config.batch_size

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch; what is left over opens the next epoch."""
        return max(1, self._order.epoch_size // self.config.batch_size)

    def batches(self, start: int) -> Iterator[Batch]:
        """This process's rows of batches `start`, `start + 1`, ... without end.

        Raises BlipError if more samples are bad than `max_bad` allows.
        """
        for made in self._made(start):
            if isinstance(made, BlipError):
                raise made
            self.rows_made += made.rows
            if made.faults:
                self._note(made)
            yield made.batch

    def _made(self, start: int) -> Iterator["_Made[Batch] | BlipError"]:
        if self.config.workers == 0:
            return (self._maker[number] for number in count(start))
        _start_forkserver()
        return iter(
            DataLoader(
                self._maker,
                batch_size=None,
                sampler=_Counting(start),
                num_workers=self.config.workers,
                multiprocessing_context="forkserver",
                collate_fn=_unchanged,
                worker_init_fn=_ignore_signals,
                # By then the model is on its GPU, if it has one.
                pin_memory=torch.cuda.is_initialized(),
                # Its own: from the common one, dropout would continue differently after a restart.
                generator=torch.Generator(),
            )
        )

    def _note(self, made: "_Made[Batch]") -> None:
        self.bad.add(made.faults)
        self.rows_replaced += made.replaced
        if self.bad_log is not None:
            self.bad_log.parent.mkdir(parents=True, exist_ok=True)
            with self.bad_log.open("a", encoding="utf-8") as file:
                file.write("".join(json.dumps(fault._asdict()) + "\n" for fault in made.faults))
        allowed = self.config.max_bad
        if self.rows_made >= ROWS_BEFORE_STOP and self.rows_replaced > allowed * self.rows_made:
            worst = ", ".join(f"{reason} {n}" for reason, n in self.bad.counts.most_common(4))
            raise BlipError(
                f"{self.rows_replaced} of {self.rows_made} samples are bad, more than max_bad "
                f"{allowed} allows ({worst}); the last: {' '.join(made.faults[-1])}"
            )


def _unchanged(batch: Any) -> Any:
    return batch


def _start_forkserver() -> None:
    """Start the process that forks the workers; it ignores SIGTERM, since they end when it does."""
    if threading.current_thread() is not threading.main_thread():
        return
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGTERM, before)


def _ignore_signals(worker: int) -> None:
    """A signal to the whole group is for the training process, which still needs batches."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


class _Counting:
    """Numbers without end, for the library's loader to hand out."""

    def __init__(self, start: int) -> None:
        self.start = start

    def __iter__(self) -> Iterator[int]:
        return count(self.start)


class Row(NamedTuple, Generic[Example]):
    """An example at its position."""

    example: Example
    fault: Fault | None
    """What is wrong with the sample that should stand there, or with a part of it."""
    replaced: bool
    """Whether another sample stands in its place."""


def make_rows(
    order: Order, examples: Examples[Example, Any], positions: Sequence[int], seed: int
) -> list[Row[Example]]:
    """The examples at some positions, each of which depends on its position and the seed alone.

    A sample that cannot be used is replaced by another. Raises BlipError if too many in a row
    cannot.
    """
    order.prepare(positions)
    return [_make_row(order, examples, position, seed) for position in positions]


def _make_row(
    order: Order, examples: Examples[Example, Any], position: int, seed: int
) -> Row[Example]:
    first: Fault | None = None
    for attempt in range(SUBSTITUTES):
        found = order.at(position, attempt)
        if isinstance(found, Fault):
            first = first or found
            continue
        selected, key = examples.select(found.sample), found.sample.key
        fault = None if selected.fault is None else Fault(found.shard, key, selected.fault)
        if selected.sample is not None:
            rng = np.random.Generator(np.random.PCG64([seed, position]))
            try:
                example = examples.make(found._replace(sample=selected.sample), rng)
                return Row(example, first or fault, replaced=attempt > 0)
            except BadSampleError as bad:
                fault = Fault(found.shard, key, str(bad))
        first = first or fault
    assert first is not None
    raise BlipError(f"{SUBSTITUTES} samples in a row are bad, the first: {' '.join(first)}")


class _Made(NamedTuple, Generic[Batch]):
    """A batch, and the bad samples that were met as it was made."""

    batch: Batch
    rows: int
    faults: list[Fault]
    replaced: int
    """Rows in which another sample stands."""


class _BatchMaker(Dataset[Any], Generic[Example, Batch]):
    """Makes batch number `i`, in this process or in a worker."""

    def __init__(
        self,
        config: DataConfig,
        order: Order,
        examples: Examples[Example, Batch],
        rank: int,
        ranks: int,
    ) -> None:
        self.config, self.order, self.examples = config, order, examples
        self.rank, self.ranks = rank, ranks

    def __getitem__(self, number: int) -> _Made[Batch] | BlipError:
        """An error is returned: raised in a worker, it would come wrapped in a traceback."""
        try:
            return self._make(number)
        except BlipError as error:
            return error

    def _make(self, number: int) -> _Made[Batch]:
        size = self.config.batch_size
        positions = range(number * size + self.rank, (number + 1) * size, self.ranks)
        rows = make_rows(self.order, self.examples, positions, self.config.seed)
        return _Made(
            self.examples.collate([row.example for row in rows]),
            rows=len(rows),
            faults=[row.fault for row in rows if row.fault is not None],
            replaced=sum(row.replaced for row in rows),
        )
