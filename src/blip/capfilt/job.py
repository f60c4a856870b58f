"""The policy of a CapFilt job: what to do, what to do again, when to stop, what to report."""

import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from blip.capfilt.config import STOPPED, CapFiltConfig
from blip.capfilt.engine.choose import open_engine
from blip.capfilt.engine.protocol import Engine, Failed
from blip.capfilt.ledger.records import Counts
from blip.capfilt.models.checkpoints import (
    ModelSource,
    choose_decoders,
)
from blip.capfilt.models.choose import checkpoint_models, choose_settings, resolve_auto
from blip.capfilt.progress.plan import (
    Plan,
    check_whole,
    estimate_samples,
    make_plan,
    plan_anew,
)
from blip.capfilt.progress.status import Status, report_end
from blip.capfilt.progress.tally import Tally, add_up, describe_failures, judge_bad
from blip.capfilt.report.draw import write_report
from blip.capfilt.shards.layout import Layout, remove_unfinished, write_sizes
from blip.capfilt.shards.settings import Settings
from blip.capfilt.shards.source import ShardTask, find_shards
from blip.capfilt.stages.job_rules import apply_job_rules
from blip.capfilt.stages.worker import ShardWorkers
from blip.config import strict
from blip.config.history import is_earlier_run
from blip.data.readers.image_files import say_skipped_below
from blip.errors import BlipError
from blip.files import report_disk_errors, write_json
from blip.log import Progress, progress, say
from blip.model.checkpoint.locate import find_weights
from blip.outputs import JOB, claim, refuse_inputs_as_output
from blip.processes import stop_on_sigterm
from blip.stage import exclusive_lock

ATTEMPTS = 2
"""How often a shard is tried whose worker dies."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """What a finished job did; `to_json` is summary.json."""

    out: Path
    shards: int
    counts: Counts
    settings: Settings
    seconds: float
    """Of this run; not in summary.json, which is the same however often a job was stopped."""

    def to_json(self) -> dict[str, Any]:
        """Counts, shards and settings."""
        return {
            **self.counts.to_json(),
            "shards": self.shards,
            "settings": self.settings.to_json(),
        }


@dataclass(frozen=True, slots=True)
class _Job:
    """What processes shards, and reports on them."""

    config: CapFiltConfig
    make_worker: ShardWorkers
    engine: Engine | None
    status: Status


def run(
    config: CapFiltConfig,
    *,
    models: ModelSource | None = None,
    engine: Engine | None = None,
    overwrite: bool = False,
) -> Summary:
    """Do a job, or what is left of it; write shards, ledger, summary.json and report.html.

    `models` and `engine` are by default those of the configuration. Raises UsageError if the
    configuration cannot work, and BlipError if the job stopped; after either the same call
    resumes. `overwrite` replaces output that was made with other settings.
    """
    started = time.monotonic()
    layout = Layout(Path(config.out), config.write)
    with ExitStack() as held:
        held.enter_context(report_disk_errors(layout.out))
        tasks = _find_inputs(config, layout)
        if models is None:
            # Before the folder is marked: a mistyped checkpoint must leave nothing behind.
            find_weights(config.captioner)
            find_weights(config.filter)
        earlier = partial(is_earlier_run, CapFiltConfig, layout.out, JOB)
        claim(layout.out, JOB, is_ours=earlier)
        held.enter_context(exclusive_lock(layout.out))
        config = resolve_auto(config, layout, overwrite=overwrite)
        models = models or checkpoint_models(config)
        settings = choose_settings(config, models)
        plan = plan_anew(lambda: make_plan(tasks, layout, settings), layout, overwrite=overwrite)
        remove_unfinished(layout)
        # With the chosen batch size, which a job keeps when it is killed before its first marker.
        begun = replace(config, batch_size=settings.batch_size)
        strict.save(begun, layout.out / "config.json")
        make_worker = ShardWorkers(layout, settings, models)
        status = Status(layout.out / "status.json", shards=len(plan.tasks), done=plan.done)
        with stop_on_sigterm(STOPPED.format(out=config.out)), report_end(status):
            try:
                counts = _do_job(_Job(config, make_worker, engine, status), plan)
            finally:
                remove_unfinished(layout)
            check_whole(plan.tasks, layout, counts)
            total = add_up(counts)
            status.update(total, len(counts))
            judge_bad(total, config, at_end=True)
            summary = Summary(
                out=layout.out,
                shards=len(plan.tasks),
                counts=total,
                settings=settings,
                seconds=time.monotonic() - started,
            )
            _write_results(summary, layout, plan, counts)
    return summary


def _write_results(summary: Summary, layout: Layout, plan: Plan, counts: dict[str, Counts]) -> None:
    """Write the files about the whole job; the shards and their ledgers are there already."""
    write_sizes(layout, counts)
    write_json(layout.out / "summary.json", summary.to_json())
    write_report(layout, plan.tasks, summary.counts, summary.settings.to_json())
    before = sum(of_shard.images for of_shard in plan.done.values())
    timing = {"images": summary.counts.images - before, "seconds": round(summary.seconds, 3)}
    write_json(layout.out / "timing.json", timing)


def _find_inputs(config: CapFiltConfig, layout: Layout) -> list[ShardTask]:
    """The shards to be read; raises UsageError if the output would replace what is read."""
    tasks = find_shards(config.data, config.rows, need_text=config.captions == 0)
    for path in dict.fromkeys(task.path for task in tasks if not task.has_text):
        say(f"capfilt: {path} has no column for the text: its images get synthetic texts alone")
    say_skipped_below(Path(task.path) for task in tasks if task.start is not None)
    read = [*config.data, *(task.path for task in tasks), config.captioner, config.filter]
    refuse_inputs_as_output(read, layout.out, JOB)
    return tasks


def _do_job(job: _Job, plan: Plan) -> dict[str, Counts]:
    """Process all shards and apply the rules of the whole job; returns the counts by shard."""
    counts = _do_shards(job, plan)
    if not job.config.job_rules.any:
        return counts
    layout, settings = job.make_worker.layout, job.make_worker.settings
    counts = apply_job_rules(plan.tasks, layout, settings, job.status)
    again = Plan(plan.tasks, counts)
    if again.waiting:
        # Data changed since the rules were applied, so that dropped texts are to be kept now.
        say(f"capfilt: {len(again.waiting)} shards lack texts that are kept now: processing again")
        job.status.update(add_up(counts), len(counts))
        _do_shards(job, again)
        counts = apply_job_rules(plan.tasks, layout, settings, job.status)
    return counts


def _do_shards(job: _Job, plan: Plan) -> dict[str, Counts]:
    """Process the shards that are waiting; returns the counts of all by name."""
    config, make_worker, status = job.config, job.make_worker, job.status
    if not plan.waiting:
        say(f"capfilt: nothing to do, {_shards(len(plan.tasks))} done already, in {config.out}")
        return dict(plan.done)
    before = status.counts.images
    total = before + _estimate(plan)
    threads = torch.get_num_threads()
    default_workers = partial(make_worker.models.default_workers, make_worker.settings.batch_size)
    with open_engine(config, len(plan.waiting), default_workers) as (chosen, workers):
        status.begin(total, workers)
        if config.engine == "local":
            # On a cluster a worker has one core.
            make_worker = replace(make_worker, decoders=choose_decoders(config.devices, workers))
        say(
            f"capfilt: {_shards(len(plan.tasks))}, {len(plan.done)} done already, "
            f"{workers} worker{'s' if workers > 1 else ''}, "
            f"{make_worker.settings.batch_size} images at a time in "
            f"{make_worker.settings.precision}, to {config.out}"
        )
        working = replace(job, make_worker=make_worker, engine=job.engine or chosen)
        try:
            with progress(total, "capfilt", "images", before) as bar:
                return _listen(working, plan, bar)
        finally:
            torch.set_num_threads(threads)


def _shards(number: int) -> str:
    return f"{number} shard{'' if number == 1 else 's'}"


def _estimate(plan: Plan) -> int:
    """About how many images are waiting; 0 where a shard that would be counted is missing."""
    try:
        return estimate_samples(plan.waiting)
    except BlipError as error:
        # When it is processed, it fails alone.
        say(f"capfilt: no estimate: {error}")
        return 0


def _listen(job: _Job, plan: Plan, bar: Progress) -> dict[str, Counts]:
    """Run the waiting shards on the engine, those whose worker dies once more.

    Raises BlipError if a shard fails.
    """
    assert job.engine is not None
    counts, failed = dict(plan.done), dict[str, Failed[ShardTask]]()
    waiting = plan.waiting
    for _ in range(ATTEMPTS):
        tally = Tally(job.config, bar, job.status, counts)
        tally.listen(job.engine, waiting, job.make_worker)
        failed |= {failure.item.name: failure for failure in tally.failed}
        waiting = [failure.item for failure in tally.failed if failure.kind == "died"]
        if not waiting:
            break
    failed = {name: failure for name, failure in failed.items() if name not in counts}
    if failed:
        raise BlipError(describe_failures(list(failed.values())))
    return counts
