"""One shard through all stages: read, caption, score, decide, write."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import pyarrow as pa

from blip.capfilt.engine.protocol import EveryItemError
from blip.capfilt.filters.decide import decide
from blip.capfilt.ledger.columns import count_table, kept_rows
from blip.capfilt.ledger.files import records_to_table
from blip.capfilt.ledger.kept_texts import TextsWriter
from blip.capfilt.ledger.records import (
    MISSING_TEXT,
    SCORE_NOT_FINITE,
    BatchDone,
    Counts,
    ShardOutcome,
    Source,
    TextRecord,
)
from blip.capfilt.models.protocols import Models
from blip.capfilt.shards.layout import Layout, describe_output, open_parts
from blip.capfilt.shards.settings import Settings
from blip.capfilt.shards.source import ShardTask, check_count, describe_input, read_samples
from blip.capfilt.stages.caption import write_captions
from blip.capfilt.stages.filter import MANY, Verdict, begin_to_score, refuse_broken_filter
from blip.capfilt.stages.merge import write_kept
from blip.capfilt.stages.pictures import DECODERS, Opened, OpenedBatch, Seen, open_batches
from blip.data.keys import storable
from blip.data.sample import Sample
from blip.files import disk_is_full, write_json


def process_shard(
    task: ShardTask,
    layout: Layout,
    settings: Settings,
    models: Models,
    batch_size: int,
    decoders: int = DECODERS,
) -> Generator[BatchDone, None, ShardOutcome]:
    """Caption and filter a shard, yield the counts of every batch, write shard, ledger and marker.

    The output depends on shard, settings and models alone. `batch_size` is that of the settings, or
    less where memory ran out; `decoders` is a number of threads. Raises OSError if the shard
    cannot be read, EveryItemError if the disk is full or the filter broken, OutOfMemoryError.
    """
    before = describe_input(task)
    counts, samples, scored = Counts(), 0, 0
    layout.marker(task.name).unlink(missing_ok=True)
    batches = open_batches(read_samples(task), batch_size, models, decoders, settings.max_pixels)
    try:
        with closing(batches), open_parts(task, layout) as (writer, ledger):
            for batch, table in _process_batches(batches, task.name, settings, models):
                samples += len(batch)
                if isinstance(writer, TextsWriter):
                    writer.write(table)
                else:
                    for opened, rows in zip(batch, kept_rows(table), strict=True):
                        write_kept(writer, opened.sample, rows)
                ledger.write(table)
                news = count_table(table)
                counts.add(news)
                scored += table.num_rows - table["itm_score"].null_count
                if not scored and counts.reasons[SCORE_NOT_FINITE] >= MANY:
                    refuse_broken_filter(models.filter, counts.reasons[SCORE_NOT_FINITE])
                yield BatchDone(counts=news)
            if not scored and (lost := counts.reasons[SCORE_NOT_FINITE]):
                refuse_broken_filter(models.filter, lost)
            counts.check(samples)
            check_count(task, samples)
        marker = {
            "name": task.name,
            "input": before,
            "settings": settings.to_json(),
            "batch_size": batch_size,
            "output": describe_output(layout, task.name),
            "counts": counts.to_json(),
        }
        write_json(layout.marker(task.name), marker)
    except OSError as error:
        if disk_is_full(error):
            raise EveryItemError(f"{layout.out}: {error.strerror}; free some space") from error
        raise
    return ShardOutcome(name=task.name, counts=counts)


def _process_batches(
    batches: Iterable[OpenedBatch], shard: str, settings: Settings, models: Models
) -> Iterator[tuple[list[Opened], pa.Table]]:
    """The samples of each batch and their rows of the ledger.

    On a GPU the filter scores a batch while the captioner writes about the next one: two batches
    are under way, and no more.
    """
    finish: Callable[[], tuple[list[Opened], pa.Table]] | None = None
    for batch in batches:
        following = _begin_batch(batch, shard, settings, models)
        if finish is not None:
            yield finish()
        finish = following
    if finish is not None:
        yield finish()


def _begin_batch(
    batch: OpenedBatch, shard: str, settings: Settings, models: Models
) -> Callable[[], tuple[list[Opened], pa.Table]]:
    """Caption a batch and begin to score it.

    What is returned gives its samples and their rows of the ledger, in their order, decided.
    """
    sound = [opened for opened in batch.samples if opened.fault is None]
    written = write_captions(
        models.captioner,
        [storable(opened.sample.key) for opened in sound],
        batch.for_captioner,
        captions=settings.captions,
        seed=settings.seed,
    )
    verdicts = begin_to_score(
        models.filter,
        batch.for_filter,
        [
            [*_web_texts(opened.sample), *texts]
            for opened, texts in zip(sound, written, strict=True)
        ],
    )
    samples = batch.samples

    def finish() -> tuple[list[Opened], pa.Table]:
        results = zip(written, verdicts(), strict=True)
        records = list[TextRecord]()
        for opened in samples:
            notes = _Notes(shard, storable(opened.sample.key), settings, opened.seen)
            if opened.fault is not None:
                records.append(notes.bad(opened.sample, opened.fault))
            else:
                records += notes.texts(opened.sample, *next(results))
        return samples, decide(records_to_table(records), settings.threshold, settings.rules)

    return finish


def _web_texts(sample: Sample) -> list[str]:
    return [storable(text).strip() for text in sample.texts]


@dataclass(frozen=True, slots=True)
class _Notes:
    """Makes the records of one sample."""

    shard: str
    key: str
    settings: Settings
    seen: Seen | None

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
        seen = self.seen
        return TextRecord(
            shard=self.shard,
            key=self.key,
            source=source,
            number=number,
            text=text,
            itm_score=verdict.itm_score,
            itc_cosine=verdict.itc_cosine,
            reason=verdict.reason,
            captioner=self.settings.captioner,
            filter=self.settings.filter,
            seed=self.settings.seed,
            width=None if seen is None else seen.width,
            height=None if seen is None else seen.height,
            image_hash=None if seen is None else seen.hash,
            error=error,
        )
