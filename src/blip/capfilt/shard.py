"""What happens to one shard: read, caption, filter, write; its output depends on nothing else."""

import errno
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from torch import Tensor

from blip.capfilt.caption_stage import write_captions
from blip.capfilt.filter_stage import Verdict, judge
from blip.capfilt.filters.config import FilterRules
from blip.capfilt.filters.decide import decide_records
from blip.capfilt.filters.picture import image_hash
from blip.capfilt.ledger import LedgerWriter
from blip.capfilt.merge import write_kept
from blip.capfilt.models import Models
from blip.capfilt.record import (
    MISSING_TEXT,
    TEXT_FAULTS,
    BatchDone,
    Counts,
    ShardOutcome,
    Source,
    TextRecord,
)
from blip.config import strict
from blip.data.images import BadImageError, decode_image
from blip.data.sample import Sample
from blip.data.shards import ShardWriter, read_shard
from blip.data.transforms import eval_transform
from blip.errors import BlipError
from blip.files import fingerprint_file, write_json
from blip.generation.config import SearchConfig

KEY_LIMIT = 200
"""Bytes of a key: with what is put behind it, it stays a file name (255) on most systems."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """All that a shard's output depends on beside the shard."""

    captioner: str
    """Fingerprint of the weights."""
    filter: str
    threshold: float
    seed: int
    captions: int
    search: SearchConfig
    batch_size: int
    rules: FilterRules = FilterRules()

    def to_json(self) -> dict[str, Any]:
        """The settings as they stand in a marker."""
        return strict.to_json(self)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a job keeps what."""

    out: Path

    def shard(self, name: str) -> Path:
        """The output shard."""
        return self.out / "shards" / f"{name}.tar"

    def ledger(self, name: str) -> Path:
        """The ledger of a shard."""
        return self.out / "ledger" / f"{name}.parquet"

    def marker(self, name: str) -> Path:
        """Written last: where it stands, shard and ledger are whole."""
        return self.out / "done" / f"{name}.json"

    def markers(self) -> list[Path]:
        """All markers that stand."""
        return sorted((self.out / "done").glob("*.json"))

    def part(self, name: str) -> Path:
        """Of the process alone: an orphan of a killed run cannot write into ours."""
        return self.out / ".parts" / f"{name}.{os.getpid()}.tar"

    def ledger_part(self, name: str) -> Path:
        """The ledger before it is whole, likewise."""
        return self.part(name).with_suffix(".parquet")


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardTask:
    """A shard to be done."""

    name: str
    """Of the output; the input's, unless two inputs share it."""
    path: str


def process_shard(
    task: ShardTask, layout: Layout, settings: Settings, models: Models
) -> Generator[BatchDone, None, ShardOutcome]:
    """Caption and filter a shard; tell of every batch; write shard, ledger and, last, marker.

    Raises OSError where the shard cannot be read, and BlipError where the disk is full.
    """
    before = describe_input(Path(task.path))
    counts, samples = Counts(), 0
    layout.marker(task.name).unlink(missing_ok=True)
    try:
        with open_parts(layout, task.name) as (writer, ledger):
            for batch in _batches(read_shard(task.path), settings.batch_size):
                samples += len(batch)
                news = Counts()
                for sample, rows in _process_batch(batch, task.name, settings, models):
                    write_kept(writer, sample, rows)
                    news.add_sample(rows)
                    ledger.write(rows)
                counts.add(news)
                yield BatchDone(counts=news)
            counts.check(samples)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise BlipError(f"{layout.out}: {error.strerror}; make room") from error
        raise
    marker = {
        "name": task.name,
        "input": before,
        "settings": settings.to_json(),
        "output": describe_output(layout, task.name),
        "counts": counts.to_json(),
    }
    write_json(layout.marker(task.name), marker)
    return ShardOutcome(name=task.name, counts=counts)


@contextmanager
def open_parts(layout: Layout, name: str) -> Iterator[tuple[ShardWriter, LedgerWriter]]:
    """Writers of a shard and its ledger.

    Both come to their places, flushed to the disk, when the block ends without an error.
    """
    shard, ledger = layout.part(name), layout.ledger_part(name)
    try:
        with ShardWriter(shard) as of_shard, LedgerWriter(ledger) as of_ledger:
            yield of_shard, of_ledger
        for part, place in ((shard, layout.shard(name)), (ledger, layout.ledger(name))):
            with part.open("rb") as file:
                os.fsync(file.fileno())
            place.parent.mkdir(parents=True, exist_ok=True)
            part.replace(place)
    finally:
        shard.unlink(missing_ok=True)
        ledger.unlink(missing_ok=True)


def describe_input(path: Path) -> dict[str, Any]:
    """Size, time and content of a shard: by what it is known again."""
    status = path.stat()
    return {
        "bytes": status.st_size,
        "modified_ns": status.st_mtime_ns,
        "fingerprint": fingerprint_file(path),
    }


def describe_output(layout: Layout, name: str) -> dict[str, int]:
    """Sizes of a shard's two files; raises OSError where one is missing."""
    return {
        "shard_bytes": layout.shard(name).stat().st_size,
        "ledger_bytes": layout.ledger(name).stat().st_size,
    }


def _batches(samples: Iterator[Sample], size: int) -> Iterator[list[Sample]]:
    while batch := list(islice(samples, size)):
        yield batch


def _process_batch(
    batch: Sequence[Sample], shard: str, settings: Settings, models: Models
) -> Iterator[tuple[Sample, list[TextRecord]]]:
    """Every sample with its records, in the order of the batch."""
    of_captioner, of_filter = models.captioner.image_size, models.filter.image_size
    faults: dict[int, str] = {}
    pictures: dict[int, _Picture] = {}
    for row, sample in enumerate(batch):
        try:
            pictures[row] = _open(sample, {of_captioner, of_filter})
        except BadImageError as bad:
            faults[row] = str(bad)
    synthetic = write_captions(
        models.captioner,
        [_printable(batch[row].key) for row in pictures],
        [picture.sizes[of_captioner] for picture in pictures.values()],
        captions=settings.captions,
        seed=settings.seed,
    )
    written = dict(zip(pictures, synthetic, strict=True))
    verdicts = judge(
        models.filter,
        [picture.sizes[of_filter] for picture in pictures.values()],
        [[*_web_texts(batch[row]), *written[row]] for row in pictures],
    )
    judged = dict(zip(pictures, verdicts, strict=True))
    records = []
    for row, sample in enumerate(batch):
        notes = _Notes(shard, _printable(sample.key), settings, pictures.get(row))
        if row in faults:
            records.append([notes.bad(sample, faults[row])])
        else:
            records.append(notes.texts(sample, written[row], judged[row]))
    flat = [record for of_sample in records for record in of_sample]
    decided = iter(decide_records(flat, settings.threshold, settings.rules))
    for sample, of_sample in zip(batch, records, strict=True):
        yield sample, list(islice(decided, len(of_sample)))


@dataclass(frozen=True, slots=True)
class _Picture:
    """What is kept of a picture once it is decoded."""

    sizes: dict[int, Tensor]
    """As the models read it, by side."""
    width: int
    height: int
    hash: int | None


def _open(sample: Sample, sizes: set[int]) -> _Picture:
    """The picture in every size asked for; large ones are let go at once."""
    if sample.error is not None and sample.error.partition(":")[0] not in TEXT_FAULTS:
        raise BadImageError(sample.error)
    if sample.image is None:
        raise BadImageError("missing_image")
    if sample.key.rpartition("/")[2] in ("", "."):
        raise BadImageError("empty_key")
    if len(_printable(sample.key).encode()) > KEY_LIMIT:
        raise BadImageError("key_too_long")
    image = decode_image(sample.image)
    read = {size: eval_transform(image, size) for size in sizes}
    return _Picture(read, image.width, image.height, image_hash(image))


def _web_texts(sample: Sample) -> list[str]:
    return [_printable(text).strip() for text in sample.texts]


def _printable(text: str) -> str:
    """Without what no UTF-8 file can hold: lone surrogates are spelt out, NUL is left out."""
    return text.replace("\0", "").encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True, slots=True)
class _Notes:
    """Makes the records of one sample."""

    shard: str
    key: str
    settings: Settings
    picture: _Picture | None

    def bad(self, sample: Sample, error: str) -> TextRecord:
        reason = error.partition(":")[0]
        text = _web_texts(sample)[0] if sample.texts else ""
        return self._record("bad", 0, text, Verdict(reason), error)

    def texts(
        self, sample: Sample, synthetic: Sequence[str], verdicts: Sequence[Verdict]
    ) -> list[TextRecord]:
        web = _web_texts(sample)
        records = [
            self._record("web", number, text, verdict, sample.error)
            for number, (text, verdict) in enumerate(zip(web, verdicts[: len(web)], strict=True))
        ]
        if not web:
            reason = (sample.error or MISSING_TEXT).partition(":")[0]
            records.append(self._record("web", 0, "", Verdict(reason), sample.error))
        of_synthetic = zip(synthetic, verdicts[len(web) :], strict=True)
        for number, (text, verdict) in enumerate(of_synthetic):
            records.append(self._record("synthetic", number, text, verdict, None))
        return records

    def _record(
        self, source: Source, number: int, text: str, verdict: Verdict, error: str | None
    ) -> TextRecord:
        picture = self.picture
        return TextRecord(
            shard=self.shard,
            key=self.key,
            source=source,
            number=number,
            text=text,
            itm_score=verdict.itm_score,
            itc_cosine=verdict.itc_cosine,
            kept=False,
            reason=verdict.reason,
            captioner=self.settings.captioner,
            filter=self.settings.filter,
            seed=self.settings.seed,
            width=None if picture is None else picture.width,
            height=None if picture is None else picture.height,
            image_hash=None if picture is None else picture.hash,
            language=None,
            error=error,
        )
