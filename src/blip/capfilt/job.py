"""The policy of a CapFilt job: what is done, what is done again, when to stop, what is reported."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, assert_never

import torch

from blip.capfilt.config import CapFiltConfig
from blip.capfilt.engine.local import InlineEngine, LocalEngine
from blip.capfilt.engine.protocol import Engine, Failed
from blip.capfilt.ledger.records import Counts
from blip.capfilt.models.checkpoints import (
    CheckpointModels,
    ModelSource,
    choose_decoders,
    choose_precision,
)
from blip.capfilt.progress.plan import (
    Plan,
    check_whole,
    estimate_samples,
    make_plan,
    resume_settings,
)
from blip.capfilt.progress.status import State, Status
from blip.capfilt.progress.tally import Tally, add_up, describe_failures, judge_bad
from blip.capfilt.report.draw import write_report
from blip.capfilt.shards.layout import Layout, write_sizes
from blip.capfilt.shards.settings import Settings
from blip.capfilt.shards.source import ShardTask, find_shards
from blip.capfilt.stages.job_rules import apply_job_rules
from blip.capfilt.stages.worker import ShardWorkers
from blip.config import strict
from blip.config.history import is_earlier_run
from blip.config.ranges import Precision
from blip.data.readers.image_files import say_skipped_below
from blip.errors import BlipError, UsageError
from blip.files import report_disk_errors, write_json
from blip.log import Progress, progress, say
from blip.model.checkpoint.locate import find_weights
from blip.outputs import JOB, LEFTOVERS, claim, refuse_inputs_as_output, remove_known
from blip.processes import stop_on_sigterm
from blip.stage import exclusive_lock

T = TypeVar("T")
ATTEMPTS = 2
"""How often a shard is begun whose worker dies."""


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


def run(
    config: CapFiltConfig,
    *,
    models: ModelSource | None = None,
    engine: Engine | None = None,
    overwrite: bool = False,
) -> Summary:
    """Do a job, or what is left of it; write shards, ledger, summary.json and report.html.

    `models` and `engine` default to what the configuration says. Raises UsageError where it cannot
    be done as asked, and BlipError where it stopped; after either the same call goes on. What was
    made with other settings is replaced where `overwrite` says so.
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
        config = resolve_auto(config, layout)
        models = models or checkpoint_models(config)
        settings = choose_settings(config, models)
        plan = plan_anew(lambda: make_plan(tasks, layout, settings), layout, overwrite=overwrite)
        clean(layout)
        # With what was chosen: a job that is killed before its first marker keeps it.
        begun = replace(config, batch_size=settings.batch_size)
        strict.save(begun, layout.out / "config.json")
        make_worker = ShardWorkers(layout, settings, models)
        status = Status(layout.out / "status.json", shards=len(plan.tasks), done=plan.done)
        stopped = f"stopped; finished shards are kept in {config.out}, the same command goes on"
        with stop_on_sigterm(stopped), _ending(status):
            try:
                counts = _do_job(config, plan, make_worker, engine, status)
            finally:
                clean(layout)
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
            write_sizes(layout, counts)
            write_json(layout.out / "summary.json", summary.to_json())
            write_report(layout, plan.tasks, total, settings.to_json())
            done_now = total.images - sum(of_shard.images for of_shard in plan.done.values())
            write_json(
                layout.out / "timing.json",
                {"images": done_now, "seconds": round(summary.seconds, 3)},
            )
    return summary


def _find_inputs(config: CapFiltConfig, layout: Layout) -> list[ShardTask]:
    """The shards to be read; raises UsageError where the output would replace what is read."""
    tasks = find_shards(config.data, config.rows)
    say_skipped_below(Path(task.path) for task in tasks if task.start is not None)
    read = [*config.data, *(task.path for task in tasks), config.captioner, config.filter]
    refuse_inputs_as_output(read, layout.out, JOB)
    return tasks


def plan_anew(plan: Callable[[], T], layout: Layout, *, overwrite: bool) -> T:
    """What `plan` finds in the output folder; `overwrite` first clears one that it refuses."""
    try:
        return plan()
    except UsageError as error:
        if not overwrite:
            raise
        say(f"beginning anew: {error}")
        remove_known(layout.out, JOB.files)
        return plan()


def resolve_auto(config: CapFiltConfig, layout: Layout) -> CapFiltConfig:
    """Replace auto by the number format of the job in the folder, else by that of the devices.

    Likewise the batch size of a job that has begun; before that the models choose it.
    """
    config = resume_settings(config, layout)
    if config.precision == "auto":
        return replace(config, precision=choose_precision(config.devices))
    return config


def checkpoint_models(config: CapFiltConfig) -> CheckpointModels:
    """The models that a configuration without auto names."""
    captioner_device, filter_device = config.devices
    return CheckpointModels(
        captioner=config.captioner,
        filter=config.filter,
        decoding=config.decoding,
        captions=config.captions,
        captioner_device=captioner_device,
        filter_device=filter_device,
        precision=_resolved_precision(config),
    )


def choose_settings(config: CapFiltConfig, models: ModelSource) -> Settings:
    """All that the output of a configuration without auto depends on."""
    captioner, matcher = models.fingerprints()
    return Settings(
        captioner=captioner,
        filter=matcher,
        threshold=config.threshold,
        seed=config.seed,
        captions=config.captions,
        decoding=config.decoding,
        batch_size=models.batch_size() if config.batch_size == "auto" else config.batch_size,
        precision=_resolved_precision(config),
        write=config.write,
        max_pixels=config.max_pixels,
        rules=config.rules,
        job_rules=config.job_rules,
    )


def _resolved_precision(config: CapFiltConfig) -> Precision:
    assert config.precision != "auto", "the job's beginning decides, by `resolve_auto`"
    return config.precision


def _do_job(
    config: CapFiltConfig,
    plan: Plan,
    make_worker: ShardWorkers,
    engine: Engine | None,
    status: Status,
) -> dict[str, Counts]:
    """Counts of all shards by name, when all are done and obey the rules of the whole job."""
    counts = _do_shards(config, plan, make_worker, engine, status)
    if not config.job_rules.any:
        return counts
    layout, settings = make_worker.layout, make_worker.settings
    counts = apply_job_rules(plan.tasks, layout, settings, status)
    again = Plan(plan.tasks, counts)
    if again.waiting:
        # Data changed since the rules were applied, and texts come back.
        say(f"capfilt: {len(again.waiting)} shards have lost texts that stay now: done anew")
        status.update(add_up(counts), len(counts))
        _do_shards(config, again, make_worker, engine, status)
        counts = apply_job_rules(plan.tasks, layout, settings, status)
    return counts


def _do_shards(
    config: CapFiltConfig,
    plan: Plan,
    make_worker: ShardWorkers,
    engine: Engine | None,
    status: Status,
) -> dict[str, Counts]:
    """Counts of all shards by name, when all are done."""
    if not plan.waiting:
        say(f"capfilt: all {len(plan.tasks)} shards are done already, in {config.out}")
        return dict(plan.done)
    before = status.counts.images
    total = before + _estimate(plan)
    threads = torch.get_num_threads()
    with _engine(config, plan, make_worker) as (chosen, workers):
        status.begin(total, workers)
        if config.engine == "local":
            # On a cluster a worker is given one core.
            make_worker = replace(make_worker, decoders=choose_decoders(config.devices, workers))
        say(
            f"capfilt: {len(plan.tasks)} shards, {len(plan.done)} done already, "
            f"{workers} worker{'s' if workers > 1 else ''}, "
            f"{make_worker.settings.batch_size} images at a time in "
            f"{make_worker.settings.precision}, to {config.out}"
        )
        try:
            with progress(total, "capfilt", "images", before) as bar:
                return _listen(config, plan, make_worker, engine or chosen, bar, status)
        finally:
            torch.set_num_threads(threads)


def _estimate(plan: Plan) -> int:
    """About how many images are to be done; 0 where a shard that is looked into is not there."""
    try:
        return estimate_samples(plan.waiting)
    except BlipError as error:
        # Its turn comes, and then it costs itself alone.
        say(f"capfilt: no estimate: {error}")
        return 0


def _listen(
    config: CapFiltConfig,
    plan: Plan,
    make_worker: ShardWorkers,
    engine: Engine,
    bar: Progress,
    status: Status,
) -> dict[str, Counts]:
    counts, failed = dict(plan.done), dict[str, Failed[ShardTask]]()
    waiting = plan.waiting
    for _ in range(ATTEMPTS):
        tally = Tally(config, bar, status, counts)
        tally.listen(engine, waiting, make_worker)
        failed |= {failure.item.name: failure for failure in tally.failed}
        waiting = [f.item for f in tally.failed if f.kind == "died"]
        if not waiting:
            break
    failed = {name: failure for name, failure in failed.items() if name not in counts}
    if failed:
        raise BlipError(describe_failures(list(failed.values())))
    return counts


@contextmanager
def _engine(
    config: CapFiltConfig, plan: Plan, make_worker: ShardWorkers
) -> Iterator[tuple[Engine, int]]:
    """What places the shards, and its workers."""
    match config.engine:
        case "local":
            default = make_worker.models.default_workers
            workers = config.workers or default(make_worker.settings.batch_size)
            workers = min(workers, len(plan.waiting))
            yield (InlineEngine() if workers == 1 else LocalEngine(workers)), workers
        case "ray":
            from blip.capfilt.engine.ray import RayEngine

            gpus = config.gpus_per_worker
            if gpus is None and config.on_cpus:
                gpus = 0.0
            with RayEngine(config.workers, config.ray_address, gpus) as engine:
                yield engine, min(engine.workers, len(plan.waiting))
        case _ as never:
            assert_never(never)


@contextmanager
def _ending(status: Status) -> Iterator[None]:
    """That the job runs is written down, and how it ends, as far as it can be."""
    state: State = "stopped"
    try:
        status.update(status.counts, status.shards_done)
        yield
        state = "done"
    except Exception:
        state = "failed"
        raise
    finally:
        # The error that is being raised says that the disk is full.
        with suppress(OSError):
            status.end(state)


def clean(layout: Layout) -> None:
    """Remove what killed runs and dead workers left half-written."""
    beside_shards = (f"shards/{name}" for name in LEFTOVERS)
    known = (".parts/*", "ledger/.*.part", "done/.*.part", *LEFTOVERS, *beside_shards)
    remove_known(layout.out, known)
