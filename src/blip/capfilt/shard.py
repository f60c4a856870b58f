"""What happens to one shard: read, caption, filter, write; its output depends on nothing else."""

import errno
import os
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from blip.capfilt.caption_stage import write_captions
from blip.capfilt.filter_stage import Verdict, judge
from blip.capfilt.ledger import encode_ledger
from blip.capfilt.merge import write_kept
from blip.capfilt.models import Models
from blip.capfilt.pictures import Opened, open_batches, printable
from blip.capfilt.record import (
    MISSING_TEXT,
    TEXT_LIMIT,
    BatchDone,
    Counts,
    ShardOutcome,
    Source,
    TextRecord,
)
from blip.capfilt.source import ShardTask, describe_input, read_samples
from blip.capfilt.texts import TextsWriter
from blip.data.sample import Sample
from blip.data.shards import ShardWriter
from blip.errors import BlipError
from blip.files import write_atomically, write_json
from blip.generation.config import SearchConfig

Write = Literal["shards", "texts"]


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
    write: Write = "shards"

    def to_json(self) -> dict[str, Any]:
        """The settings as they stand in a marker."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a job keeps what."""

    out: Path
    write: Write = "shards"

    def shard(self, name: str) -> Path:
        """The kept texts of a shard: a tar of images and texts, or a table of texts alone."""
        if self.write == "texts":
            return self.out / "texts" / f"{name}.parquet"
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
        return self.out / ".parts" / f"{name}.{os.getpid()}{self.shard(name).suffix}"


def process_shard(
    task: ShardTask, layout: Layout, settings: Settings, models: Models, batch_size: int
) -> Generator[BatchDone, None, ShardOutcome]:
    """Caption and filter a shard; tell of every batch; write shard, ledger and, last, marker.

    `batch_size` is that of the settings, or less where that found no room. Raises OSError where the
    shard cannot be read, BlipError where the disk is full, and OutOfMemoryError.
    """
    before = describe_input(task)
    part = layout.part(task.name)
    counts, records, samples = Counts(), list[TextRecord](), 0
    layout.marker(task.name).unlink(missing_ok=True)
    sides = frozenset((models.captioner.image_size, models.filter.image_size))
    try:
        with _writer(task, layout, part) as writer:
            for batch in open_batches(read_samples(task), batch_size, sides):
                samples += len(batch)
                news = Counts()
                for sample, rows, texts in _process_batch(batch, task.name, settings, models):
                    write_kept(writer, sample, rows, texts)
                    news.add_sample(rows)
                    records += rows
                counts.add(news)
                yield BatchDone(counts=news)
        counts.check(samples)
        _commit(task.name, layout, part, records)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise BlipError(f"{layout.out}: {error.strerror}; make room") from error
        raise
    finally:
        part.unlink(missing_ok=True)
    marker = {
        "name": task.name,
        "input": before,
        "settings": settings.to_json(),
        "batch_size": batch_size,
        "output": describe_output(layout, task.name),
        "counts": counts.to_json(),
    }
    write_json(layout.marker(task.name), marker)
    return ShardOutcome(name=task.name, counts=counts)


def describe_output(layout: Layout, name: str) -> dict[str, int]:
    """Sizes of a shard's two files; raises OSError where one is missing."""
    return {
        "shard_bytes": layout.shard(name).stat().st_size,
        "ledger_bytes": layout.ledger(name).stat().st_size,
    }


def _writer(task: ShardTask, layout: Layout, part: Path) -> ShardWriter | TextsWriter:
    return TextsWriter(part, task.path) if layout.write == "texts" else ShardWriter(part)


def _process_batch(
    batch: Sequence[Opened], shard: str, settings: Settings, models: Models
) -> Iterator[tuple[Sample, list[TextRecord], list[str]]]:
    """Every sample with its records and their texts in full, in the order of the batch."""
    of_captioner, of_filter = models.captioner.image_size, models.filter.image_size
    sound = [opened for opened in batch if opened.fault is None]
    written = write_captions(
        models.captioner,
        [printable(opened.sample.key) for opened in sound],
        [opened.pictures[of_captioner] for opened in sound],
        captions=settings.captions,
        seed=settings.seed,
    )
    judged = judge(
        models.filter,
        [opened.pictures[of_filter] for opened in sound],
        [
            [*_web_texts(opened.sample), *texts]
            for opened, texts in zip(sound, written, strict=True)
        ],
        threshold=settings.threshold,
    )
    results = zip(written, judged, strict=True)
    for opened in batch:
        sample = opened.sample
        notes = _Notes(shard, printable(sample.key), settings)
        if opened.fault is not None:
            yield sample, [notes.bad(sample, opened.fault)], [""]
        else:
            yield sample, *notes.texts(sample, *next(results))


def _web_texts(sample: Sample) -> list[str]:
    return [printable(text).strip() for text in sample.texts]


@dataclass(frozen=True, slots=True)
class _Notes:
    """Makes the records of one sample."""

    shard: str
    key: str
    settings: Settings

    def bad(self, sample: Sample, error: str) -> TextRecord:
        reason = error.partition(":")[0]
        text = _web_texts(sample)[0] if sample.texts else ""
        verdict = Verdict(kept=False, reason=reason)
        return self._record("bad", 0, text, verdict, error)

    def texts(
        self, sample: Sample, synthetic: Sequence[str], verdicts: Sequence[Verdict]
    ) -> tuple[list[TextRecord], list[str]]:
        web = _web_texts(sample)
        records = [
            self._record("web", number, text, verdict, sample.error)
            for number, (text, verdict) in enumerate(zip(web, verdicts[: len(web)], strict=True))
        ]
        texts = list(web)
        if not web:
            reason = (sample.error or MISSING_TEXT).partition(":")[0]
            missing = Verdict(kept=False, reason=reason)
            records.append(self._record("web", 0, "", missing, sample.error))
            texts.append("")
        of_synthetic = zip(synthetic, verdicts[len(web) :], strict=True)
        for number, (text, verdict) in enumerate(of_synthetic):
            records.append(self._record("synthetic", number, text, verdict, None))
            texts.append(text)
        return records, texts

    def _record(
        self, source: Source, number: int, text: str, verdict: Verdict, error: str | None
    ) -> TextRecord:
        return TextRecord(
            shard=self.shard,
            key=self.key,
            source=source,
            number=number,
            text=text[:TEXT_LIMIT],
            itm_score=verdict.itm_score,
            itc_cosine=verdict.itc_cosine,
            kept=verdict.kept,
            reason=verdict.reason,
            captioner=self.settings.captioner,
            filter=self.settings.filter,
            seed=self.settings.seed,
            error=error,
        )


def _commit(name: str, layout: Layout, part: Path, records: Sequence[TextRecord]) -> None:
    """Bring a shard and its ledger to their places, flushed to the disk."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    layout.shard(name).parent.mkdir(parents=True, exist_ok=True)
    part.replace(layout.shard(name))
    write_atomically(layout.ledger(name), encode_ledger(records))
