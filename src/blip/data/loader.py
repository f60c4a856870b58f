"""Batches for training, whose batch `i` depends on `i` alone."""

import json
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from itertools import count
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from blip.data.config import DataConfig
from blip.data.examples.pairs import PairBatch
from blip.data.examples.usable import NAMED, describe_left_out
from blip.data.order.in_memory import MEMORY_BYTES, MemoryRows
from blip.data.order.rows import Rows
from blip.data.order.streamed import StreamRows
from blip.data.readers.archive import Fault
from blip.data.readers.remote import is_remote
from blip.data.readers.sources import find_sources, list_files
from blip.data.tokenizer import Tokenizer
from blip.data.transforms import normalise
from blip.errors import BlipError, UsageError
from blip.log import say

ROWS_BEFORE_STOP = 1000
"""Rows after which bad samples may stop a run: fewer tell nothing about their share."""


class PairLoader:
    """Endless batches over a weighted mixture of sources.

    An epoch holds every pair as often as its source's weight says, in an order drawn from the seed
    and the number of the epoch. Augmentation is drawn from seed and position. So batch `i` is the
    same whenever and however often it is made, and a run goes on by `batches(start=i)`. Small sets
    lie in memory; where shards are remote or large (`DataConfig.stream`) they are read as they are
    needed, and the unit is not the pair but the image with one of its texts, drawn anew.

    `config.batch_size` counts the rows of all `ranks` processes that train together; this loader
    makes those of `rank`, every `ranks`-th row from row `rank` on. Raises UsageError where the
    ranks cannot share a batch evenly, and where the prompt leaves no room for a text.
    """

    def __init__(
        self,
        config: DataConfig,
        tokenizer: Tokenizer,
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
        prompt = len(tokenizer.encode_prompt(config.prompt))
        # Both ends of a text are counted.
        if prompt + 1 >= config.max_tokens:
            raise UsageError(
                f"`data.prompt` {config.prompt!r} has {prompt + 1} tokens with both ends; "
                f"`data.max_tokens` must be greater, got {config.max_tokens}"
            )
        self.config, self.bad_log = config, bad_log
        self.bad: Counter[str] = Counter()
        self.bad_samples: list[tuple[str, str, str]] = []
        """(shard, key, reason) of the first bad ones."""
        self.rows_made = self.rows_bad = 0
        self.rows: Rows = self._open()
        self.maker = _BatchMaker(config, tokenizer, self.rows, rank, ranks)

    def _open(self) -> Rows:
        if is_streamed(self.config):
            streamed = StreamRows(self.config)
            self._keep([fault for shard in streamed.shards for fault in shard.faults])
            rows: Rows = streamed
        else:
            rows = held = MemoryRows(self.config)
            self.bad = sum((index.bad for index in held.indices), Counter())
            self.bad_samples = [bad for index in held.indices for bad in index.bad_samples]
        if self.bad:
            say(f"left out of training: {describe_left_out(self.bad, self.bad_samples)}")
        return rows

    @property
    def num_pairs(self) -> int:
        """Pairs in the sources, or images where they are streamed, each counted once."""
        return self.rows.size

    @property
    def order(self) -> str:
        """A fingerprint of which row comes at which position."""
        return self.rows.order_fingerprint

    @property
    def batch_size(self) -> int:
        """Rows of a batch, those of all processes together."""
        return self.config.batch_size

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch; what is left over opens the next epoch."""
        return max(1, self.rows.epoch_size // self.config.batch_size)

    def batches(self, start: int) -> Iterator[PairBatch]:
        """This process's rows of batches `start`, `start + 1`, ... without end.

        Raises BlipError where more samples are bad than `max_bad` allows.
        """
        for made in self._made(start):
            if isinstance(made, BlipError):
                raise made
            batch, faults = made
            self.rows_made += len(batch.keys)
            if faults:
                self._note(faults, batch.keys)
            yield batch

    def _made(self, start: int) -> Iterator["_Made | BlipError"]:
        if self.config.workers == 0:
            return (self.maker[number] for number in count(start))
        _start_forkserver()
        return iter(
            DataLoader(
                self.maker,
                batch_size=None,
                sampler=_Counting(start),
                num_workers=self.config.workers,
                multiprocessing_context="forkserver",
                collate_fn=_as_it_is,
                worker_init_fn=_leave_signals,
                pin_memory=torch.cuda.is_available(),
                # Its own: from the common one, dropout would go on otherwise after a restart.
                generator=torch.Generator(),
            )
        )

    def _note(self, faults: list[Fault], keys: tuple[str, ...]) -> None:
        self._keep(faults)
        # A sample that lost one of its texts is in the batch all the same.
        self.rows_bad += sum(fault.key not in keys for fault in faults)
        if self.bad_log is not None:
            self.bad_log.parent.mkdir(parents=True, exist_ok=True)
            with self.bad_log.open("a", encoding="utf-8") as file:
                file.write("".join(json.dumps(fault._asdict()) + "\n" for fault in faults))
        allowed = self.config.max_bad
        if self.rows_made >= ROWS_BEFORE_STOP and self.rows_bad > allowed * self.rows_made:
            worst = ", ".join(f"{reason} {n}" for reason, n in self.bad.most_common(4))
            raise BlipError(
                f"{self.rows_bad} of {self.rows_made} samples are bad, more than max_bad {allowed} "
                f"allows ({worst}); the last: {' '.join(faults[-1])}"
            )

    def _keep(self, faults: list[Fault]) -> None:
        self.bad.update(fault.kind for fault in faults)
        self.bad_samples += faults[: NAMED - len(self.bad_samples)]


def is_streamed(config: DataConfig) -> bool:
    """Whether `config` asks for a stream, or its shards do.

    Raises UsageError for shards that are not there, or are remote and must not be streamed.
    """
    if config.stream == "always":
        return True
    patterns = [pattern for source in config.sources for pattern in source.shards]
    remote = [p for p in patterns if is_remote(p)]
    if config.stream == "never":
        if remote:
            raise UsageError(f"stream must be auto or always where shards are remote: {remote[0]}")
        return False
    if remote:
        return True
    files = [file for place in find_sources(patterns) for file in list_files(place)]
    return sum(file.stat().st_size for file in files) > MEMORY_BYTES


def _as_it_is(batch: Any) -> Any:
    return batch


def _start_forkserver() -> None:
    """Start what the workers come from, deaf to SIGTERM: if it dies, they take us for dead."""
    if threading.current_thread() is not threading.main_thread():
        return
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGTERM, before)


def _leave_signals(worker: int) -> None:
    """A signal to the whole group is for the training process, which still wants batches."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


class _Counting:
    """Numbers without end, for the library's loader to hand out."""

    def __init__(self, start: int) -> None:
        self.start = start

    def __iter__(self) -> Iterator[int]:
        number = self.start
        while True:
            yield number
            number += 1


class _Made(NamedTuple):
    """A batch, and the bad samples for which others stand in it."""

    batch: PairBatch
    faults: list[Fault]


class _BatchMaker(Dataset[_Made | BlipError]):
    """Makes batch number `i`, in this process or in a worker."""

    def __init__(
        self, config: DataConfig, tokenizer: Tokenizer, rows: Rows, rank: int, ranks: int
    ) -> None:
        self.config, self.tokenizer, self.rows = config, tokenizer, rows
        self.rank, self.ranks = rank, ranks

    def __getitem__(self, number: int) -> _Made | BlipError:
        """An error is returned: raised in a worker, it would come wrapped in a traceback."""
        try:
            return self._make(number)
        except BlipError as error:
            return error

    def _make(self, number: int) -> _Made:
        size = self.config.batch_size
        rows, faults = self.rows.rows(
            range(number * size + self.rank, (number + 1) * size, self.ranks)
        )
        batch = PairBatch(
            images=normalise(np.stack([row.pixels for row in rows])),
            texts=self.tokenizer.encode([row.text for row in rows], self.config.max_tokens),
            image_ids=torch.tensor([row.image_id for row in rows]),
            keys=tuple(row.key for row in rows),
        )
        return _Made(batch, faults)
