"""Makes another data set of a finished job: decides again on its ledger, without a model."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from blip.capfilt.config import RecutConfig
from blip.capfilt.filters.whole_job import JobVerdicts, decide_anew, judge_ledgers
from blip.capfilt.ledger.columns import count_table, kept_rows, sample_starts
from blip.capfilt.ledger.files import count_rows, find_ledgers
from blip.capfilt.ledger.kept_texts import TextsWriter
from blip.capfilt.ledger.records import Counts
from blip.capfilt.progress.plan import (
    OtherJobError,
    check_settings,
    check_whole,
    plan_anew,
    read_marker,
)
from blip.capfilt.progress.tally import FAILURES
from blip.capfilt.report.draw import write_report
from blip.capfilt.shards.layout import (
    Layout,
    describe_output,
    holds_empty_tar,
    open_parts,
    remove_unfinished,
    write_sizes,
)
from blip.capfilt.shards.originals import RECUT, find_originals
from blip.capfilt.shards.source import ShardTask, is_same_input, read_samples
from blip.capfilt.stages.merge import write_kept
from blip.config import strict
from blip.config.history import is_earlier_run
from blip.data.keys import storable
from blip.data.sample import Sample
from blip.data.writers.shards import ShardWriter
from blip.errors import BlipError, UsageError
from blip.files import fingerprint_file, fingerprint_json, report_disk_errors, write_json
from blip.log import Progress, progress, say
from blip.outputs import RECUT as RECUT_KIND
from blip.outputs import claim, refuse_inputs_as_output
from blip.places import real_path
from blip.stage import exclusive_lock


@dataclass(frozen=True, kw_only=True, slots=True)
class RecutSummary:
    """The result of a recut; `to_json` is summary.json."""

    out: Path
    shards: int
    counts: Counts
    settings: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Counts, shards and settings."""
        return {**self.counts.to_json(), "shards": self.shards, "settings": self.settings}


@dataclass(frozen=True, slots=True)
class _Cut:
    """A shard of the job, to be decided on again."""

    task: ShardTask
    ledger: Path
    rows: int
    known: dict[str, Any] | None
    """The job's description of the original; None where only the ledger is there."""


def recut(config: RecutConfig, *, overwrite: bool = False) -> RecutSummary:
    """Recut a job, or resume a recut; write what the job would have written with these settings.

    Memory holds a row group of a ledger, and for `job_rules` some 25 bytes for each row (while
    sorting, several times that). Raises UsageError if the configuration cannot work, and
    BlipError if the recut stopped; after either the same call resumes. `overwrite` replaces
    output of other settings.
    """
    layout = Layout(Path(config.out), config.write)
    ledgers = find_ledgers(Path(config.ledger))
    if real_path(ledgers[0].parent) == real_path(layout.out / "ledger"):
        raise UsageError(f"{config.out} is the job itself; choose another --out")
    cuts = _find_originals(config, ledgers)
    read = [ledgers[0].parent, *ledgers, *config.data, *(cut.task.path for cut in cuts)]
    refuse_inputs_as_output(read, layout.out, RECUT_KIND)
    with ExitStack() as held:
        held.enter_context(report_disk_errors(layout.out))
        earlier = partial(is_earlier_run, RecutConfig, layout.out, RECUT_KIND, RECUT)
        claim(layout.out, RECUT_KIND, is_ours=earlier)
        held.enter_context(exclusive_lock(layout.out))
        remove_unfinished(layout)
        done, waiting = plan_anew(
            lambda: _look_at_output(config, layout, cuts), layout, overwrite=overwrite
        )
        strict.save(config, layout.out / RECUT)
        say(f"recut: {len(cuts)} shards, {len(done)} done already, to {layout.out}")
        try:
            counts = _do(config, layout, cuts, done, waiting)
        finally:
            remove_unfinished(layout)
        tasks = [cut.task for cut in cuts]
        check_whole(tasks, layout, counts)
        total = Counts()
        for task in tasks:
            total.add(counts[task.name])
        settings = _settings(config)
        summary = RecutSummary(out=layout.out, shards=len(cuts), counts=total, settings=settings)
        write_sizes(layout, counts)
        write_json(layout.out / "summary.json", summary.to_json())
        write_report(layout, tasks, total, settings)
    return summary


def _settings(config: RecutConfig) -> dict[str, Any]:
    """Everything that the output depends on, except ledgers and originals."""
    values = strict.to_json(config)
    return {name: values[name] for name in ("threshold", "rules", "job_rules", "write")}


def _find_originals(config: RecutConfig, ledgers: Sequence[Path]) -> list[_Cut]:
    job = ledgers[0].parent.parent
    tasks = find_originals(job, config.data)
    missing = [ledger.stem for ledger in ledgers if ledger.stem not in tasks]
    if missing:
        raise UsageError(
            f"--data does not name the originals of {len(missing)} ledgers, first {missing[0]!r}"
        )
    without = tasks.keys() - {ledger.stem for ledger in ledgers}
    if without:
        say(
            f"recut: {len(without)} shards, first {min(without)!r}, have no ledger and are left out"
        )
    markers = Layout(job)
    cuts = []
    for ledger in ledgers:
        marker = read_marker(markers.marker(ledger.stem)) or {}
        task, known = tasks[ledger.stem], marker.get("input")
        cuts.append(_Cut(task, ledger, _rows_of(ledger), known))
    return cuts


def _rows_of(ledger: Path) -> int:
    """Rows of a ledger, for the progress bar; 0 where it is truncated, which is reported later."""
    try:
        return count_rows(ledger)
    except BlipError:
        return 0


def _look_at_output(
    config: RecutConfig, layout: Layout, cuts: Sequence[_Cut]
) -> tuple[dict[str, Counts], list[_Cut]]:
    """Counts of the shards that are done already, and the waiting shards."""
    done: dict[str, Counts] = {}
    names = {cut.task.name for cut in cuts}
    unnamed = sorted(path.stem for path in layout.markers() if path.stem not in names)
    if unnamed:
        raise OtherJobError(
            f"{layout.out} holds {len(unnamed)} shards that the ledger does not have, first "
            f"{unnamed[0]!r}; --overwrite replaces them, another --out keeps both"
        )
    together = _describe_all(config, cuts)
    for cut in cuts:
        marker = read_marker(layout.marker(cut.task.name))
        if marker is None:
            continue
        check_settings(layout, marker, _settings(config))
        try:
            current = describe_output(layout, cut.task.name) == marker["output"]
            same = _is_same(cut.ledger, marker["ledger"]) and together == marker["together"]
        except (OSError, KeyError, TypeError):
            continue
        counts = Counts.from_json(marker["counts"])
        if current and same and not holds_empty_tar(layout, cut.task.name, counts):
            done[cut.task.name] = counts
    return done, [cut for cut in cuts if cut.task.name not in done]


def _do(
    config: RecutConfig,
    layout: Layout,
    cuts: Sequence[_Cut],
    done: dict[str, Counts],
    waiting: Sequence[_Cut],
) -> dict[str, Counts]:
    counts = dict(done)
    if not waiting:
        return counts
    verdicts: dict[Path, JobVerdicts] = {}
    if config.job_rules.any:
        ledgers = [cut.ledger for cut in cuts]
        verdicts = judge_ledgers(ledgers, config.threshold, config.rules, config.job_rules)
    together = _describe_all(config, cuts)
    failed, in_a_row = list[Exception](), 0
    before = sum(cut.rows for cut in cuts) - sum(cut.rows for cut in waiting)
    with progress(sum(cut.rows for cut in cuts), "recut", "texts", before) as bar:
        for cut in waiting:
            try:
                of_shard = _cut_shard(config, layout, cut, verdicts.get(cut.ledger), bar)
            except (BlipError, FileNotFoundError) as error:
                say(f"recut: shard {cut.task.name}: {error}")
                failed.append(error)
                in_a_row += 1
                if in_a_row == FAILURES:
                    break
                continue
            in_a_row = 0
            counts[cut.task.name] = of_shard
            marker = {
                "name": cut.task.name,
                # So that the result of a recut can be recut, too.
                "input": cut.known,
                "ledger": _describe(cut.ledger),
                "together": together,
                "settings": _settings(config),
                "output": describe_output(layout, cut.task.name),
                "counts": counts[cut.task.name].to_json(),
            }
            write_json(layout.marker(cut.task.name), marker)
    if failed:
        raise BlipError(
            f"{len(failed)} of {len(cuts)} shards could not be cut, first: {failed[0]}; "
            "run the same command again to do the rest"
        )
    return counts


def _cut_shard(
    config: RecutConfig,
    layout: Layout,
    cut: _Cut,
    verdicts: JobVerdicts | None,
    bar: Progress,
) -> Counts:
    layout.marker(cut.task.name).unlink(missing_ok=True)
    counts = Counts()
    with open_parts(cut.task, layout) as (writer, ledger):
        images = _Images(cut, writer) if isinstance(writer, ShardWriter) else None
        for table in decide_anew(cut.ledger, config.threshold, config.rules, verdicts):
            ledger.write_group(table)
            if isinstance(writer, TextsWriter):
                writer.write(table)
            elif images is not None:
                images.write(table)
            counts.add(count_table(table))
            bar.advance(table.num_rows)
        if images is not None:
            images.end()
    counts.check(counts.images)
    return counts


class _Images:
    """Writes the kept texts of a shard with the images of the original, read alongside."""

    def __init__(self, cut: _Cut, writer: ShardWriter) -> None:
        self.cut, self.writer = cut, writer
        self.place = 0
        if cut.known is not None and not is_same_input(cut.task, cut.known):
            raise BlipError(f"{cut.task.path} changed since the job read it")
        self.samples = read_samples(cut.task)

    def write(self, table: pa.Table) -> None:
        """Write the kept texts of a row group."""
        keys = table["key"].take(pa.array(sample_starts(table))).to_pylist()
        for key, rows in zip(keys, kept_rows(table), strict=True):
            write_kept(self.writer, self._next(key), rows)

    def end(self) -> None:
        """Raises BlipError if the original has more samples than the ledger."""
        extra = next(self.samples, None)
        if extra is not None:
            raise self._differs(self.place + 1, f"has a sample {extra.key!r}", "ends")

    def _next(self, key: str) -> Sample:
        self.place += 1
        sample = next(self.samples, None)
        if sample is None:
            raise self._differs(self.place, "ends", f"has {key!r}")
        if storable(sample.key) != key:
            raise self._differs(self.place, f"is {sample.key!r}", f"has {key!r}")
        return sample

    def _differs(self, place: int, in_original: str, in_ledger: str) -> BlipError:
        return BlipError(
            f"{self.cut.task.path} does not match {self.cut.ledger}: sample {place} {in_original} "
            f"where the ledger {in_ledger}; name the originals with --data"
        )


def _describe(ledger: Path) -> dict[str, Any]:
    status = ledger.stat()
    return {
        "bytes": status.st_size,
        "modified_ns": status.st_mtime_ns,
        "fingerprint": fingerprint_file(ledger),
    }


def _describe_all(config: RecutConfig, cuts: Sequence[_Cut]) -> str | None:
    """Fingerprint of all ledgers, where rules of the whole job read them; else None."""
    if not config.job_rules.any:
        return None
    statuses = [(cut.ledger.name, cut.ledger.stat()) for cut in cuts]
    return fingerprint_json([[name, s.st_size, s.st_mtime_ns] for name, s in statuses])


def _is_same(ledger: Path, known: dict[str, Any]) -> bool:
    status = ledger.stat()
    if status.st_size != known["bytes"]:
        return False
    return status.st_mtime_ns == known["modified_ns"] or (
        fingerprint_file(ledger) == known["fingerprint"]
    )
