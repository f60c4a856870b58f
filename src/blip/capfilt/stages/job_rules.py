"""Applies the rules of the whole job to the shards and ledgers that the job wrote."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import pyarrow as pa

from blip.capfilt.filters.whole_job import JobVerdicts, decide_anew, judge_ledgers
from blip.capfilt.ledger.columns import count_table
from blip.capfilt.ledger.files import BATCH_ROWS
from blip.capfilt.ledger.kept_texts import TextsWriter
from blip.capfilt.ledger.records import Counts, output_key
from blip.capfilt.progress.plan import read_marker
from blip.capfilt.progress.status import Status
from blip.capfilt.shards.layout import Layout, describe_output, open_parts
from blip.capfilt.shards.settings import Settings
from blip.capfilt.shards.source import ShardTask
from blip.data.readers.shards import read_written
from blip.data.writers.shards import ShardWriter
from blip.files import fingerprint_json, write_json
from blip.log import progress


class LostTextError(Exception):
    """A shard no longer holds a text that is to be kept."""


def apply_job_rules(
    tasks: Sequence[ShardTask], layout: Layout, settings: Settings, status: Status
) -> dict[str, Counts]:
    """Drop from every shard what the rules of the whole job drop; returns the counts by name.

    All shards must be done. Verdicts depend on the scores in the ledgers, never on what was kept,
    so that a killed job can apply them again. A marker has `together` once that was done: a
    fingerprint of all that the verdicts depend on. A shard is missing from the result where earlier
    verdicts, before data changed, dropped a text that is to be kept now: process it again.
    Raises BlipError if a ledger cannot be read.
    """
    names = {layout.ledger(task.name): task.name for task in tasks}
    # The order in which a recut reads the ledgers.
    ledgers = sorted(names)
    markers = {names[ledger]: _read(layout, names[ledger]) for ledger in ledgers}
    together = fingerprint_json(
        [[name, m["input"]["fingerprint"], m["batch_size"]] for name, m in markers.items()]
    )
    counts = {name: Counts.from_json(marker["counts"]) for name, marker in markers.items()}
    waiting = [task for task in tasks if markers[task.name].get("together") != together]
    if not waiting:
        return counts
    verdicts = judge_ledgers(ledgers, settings.threshold, settings.rules, settings.job_rules)
    with progress(len(tasks), "rules of the job", "shards", len(tasks) - len(waiting)) as bar:
        for task in waiting:
            before = counts.pop(task.name)
            try:
                after = _rewrite(task, layout, settings, verdicts[layout.ledger(task.name)])
            except LostTextError:
                continue
            after.check(before.images)
            marker = {
                **markers[task.name],
                "together": together,
                "output": describe_output(layout, task.name),
                "counts": after.to_json(),
            }
            write_json(layout.marker(task.name), marker)
            counts[task.name] = after
            bar.advance()
            status.update(status.counts, status.shards_done)
    return counts


def _read(layout: Layout, name: str) -> dict[str, Any]:
    marker = read_marker(layout.marker(name))
    assert marker is not None, f"shard {name} is not done"
    return marker


def _rewrite(task: ShardTask, layout: Layout, settings: Settings, verdicts: JobVerdicts) -> Counts:
    """Replace a shard and its ledger by what is kept now.

    Raises LostTextError, and changes nothing, if the shard lacks a text that is to be kept. A
    process killed between the two files leaves a shard that either no longer fits its marker, or
    can be rewritten: the same bytes result in both cases.
    """
    counts, before = Counts(), layout.ledger(task.name)
    with (
        closing(read_written(layout.shard(task.name))) as samples,
        open_parts(task, layout) as (writer, ledger),
    ):
        for table in decide_anew(before, settings.threshold, settings.rules, verdicts):
            ledger.write_group(table)
            if isinstance(writer, TextsWriter):
                writer.write(table)
            else:
                _copy(table.filter(table["kept"]), samples, writer)
            counts.add(count_table(table))
    return counts


def _copy(kept: pa.Table, samples: Iterator[list[tuple[str, bytes]]], writer: ShardWriter) -> None:
    """Copy the samples of some rows from those of the shard, which have the same order."""
    for batch in kept.select(["key", "source", "number"]).to_batches(max_chunksize=BATCH_ROWS):
        for row in batch.to_pylist():
            name = f"{output_key(**row)}.txt"
            members = next((files for files in samples if name in dict(files)), None)
            if members is None:
                raise LostTextError(name)
            writer.write_members(members)
