"""Where the files of a job lie, and how the two files of a shard are written."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from blip.capfilt.ledger.files import LedgerWriter, open_ledger
from blip.capfilt.ledger.kept_texts import TextsWriter, open_texts
from blip.capfilt.ledger.records import Counts
from blip.capfilt.shards.source import ShardTask
from blip.data.writers.card import describe_shards
from blip.data.writers.shards import ShardWriter
from blip.files import put_in_place
from blip.outputs import LEFTOVERS, remove_known

Write = Literal["shards", "texts"]


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of a job's files."""

    out: Path
    write: Write = "shards"

    def shard(self, name: str) -> Path:
        """The kept texts of a shard: a tar with images and texts, or a table of texts alone."""
        if self.write == "texts":
            return self.out / "texts" / f"{name}.parquet"
        return self.out / "shards" / f"{name}.tar"

    def ledger(self, name: str) -> Path:
        """The ledger of a shard."""
        return self.out / "ledger" / f"{name}.parquet"

    def marker(self, name: str) -> Path:
        """Written last: if it is there, shard and ledger are complete."""
        return self.out / "done" / f"{name}.json"

    def markers(self) -> list[Path]:
        """All markers that are there."""
        return sorted((self.out / "done").glob("*.json"))

    def part(self, name: str) -> Path:
        """The unfinished shard of this process; a worker that outlived a killed run has another."""
        return self.out / ".parts" / f"{name}.{os.getpid()}{self.shard(name).suffix}"

    def ledger_part(self, name: str) -> Path:
        """The unfinished ledger, likewise."""
        return self.part(name).with_suffix(".ledger")


def describe_output(layout: Layout, name: str) -> dict[str, int]:
    """Sizes of a shard's two files; raises OSError if one is missing.

    A tar may be missing: where nothing was kept, none is written.
    """
    shard = layout.shard(name)
    empty = layout.write == "shards" and not shard.exists()
    return {
        "shard_bytes": 0 if empty else shard.stat().st_size,
        "ledger_bytes": layout.ledger(name).stat().st_size,
    }


def holds_empty_tar(layout: Layout, name: str, counts: Counts) -> bool:
    """Whether there is a tar without samples, which earlier versions wrote."""
    return layout.write == "shards" and not counts.texts_kept and layout.shard(name).exists()


def write_sizes(layout: Layout, counts: Mapping[str, Counts]) -> None:
    """Write the number of samples of each shard beside the shards, for other readers."""
    if layout.write == "shards":
        kept = {layout.shard(name).name: of.texts_kept for name, of in counts.items()}
        sizes = {name: samples for name, samples in kept.items() if samples}
        describe_shards(layout.shard("x").parent, sizes)


@contextmanager
def open_parts(
    task: ShardTask, layout: Layout
) -> Iterator[tuple[ShardWriter | TextsWriter, LedgerWriter]]:
    """Writers of a shard and its ledger.

    Both are flushed to the disk and renamed into place when the block ends without an error. A tar
    without samples is left out: many readers of shards fail on it.
    """
    shard, ledger = layout.part(task.name), layout.ledger_part(task.name)
    texts = layout.write == "texts"
    try:
        with (
            open_texts(shard, task.path) if texts else ShardWriter(shard) as writer,
            open_ledger(ledger) as of_ledger,
        ):
            yield writer, of_ledger
        places = [(shard, layout.shard(task.name)), (ledger, layout.ledger(task.name))]
        if isinstance(writer, ShardWriter) and not writer.count:
            layout.shard(task.name).unlink(missing_ok=True)
            places = places[1:]
        for part, place in places:
            place.parent.mkdir(parents=True, exist_ok=True)
            put_in_place(part, place)
    finally:
        shard.unlink(missing_ok=True)
        ledger.unlink(missing_ok=True)


def remove_unfinished(layout: Layout) -> None:
    """Remove unfinished files of killed runs and dead workers."""
    beside_shards = (f"shards/{name}" for name in LEFTOVERS)
    known = (".parts/*", "ledger/.*.part", "done/.*.part", *LEFTOVERS, *beside_shards)
    remove_known(layout.out, known)
