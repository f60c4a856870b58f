"""The policy of a CapFilt job: what is done, what is done again, when to stop, what is reported."""

import shutil
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch

from blip.capfilt.checkpoints import CheckpointModels, ModelSource
from blip.capfilt.config import CapFiltConfig
from blip.capfilt.engine.local import InlineEngine, LocalEngine
from blip.capfilt.engine.protocol import Engine, Failed
from blip.capfilt.models import Models
from blip.capfilt.plan import Plan, check_whole, estimate_samples, make_plan
from blip.capfilt.record import BatchDone, Counts, ShardOutcome
from blip.capfilt.report import write_report
from blip.capfilt.shard import Layout, Settings, ShardTask, process_shard
from blip.capfilt.tally import Tally, judge_bad, tell_failures
from blip.config import strict
from blip.errors import BlipError
from blip.files import write_json
from blip.log import progress, say
from blip.stage import alone

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
    config: CapFiltConfig, *, models: ModelSource | None = None, engine: Engine | None = None
) -> Summary:
    """Do a job, or what is left of it; write shards, ledger, summary.json and report.html.

    `models` and `engine` default to what the configuration says. Raises UsageError where it cannot
    be done as asked, and BlipError where it stopped; after either the same call goes on.
    """
    started = time.monotonic()
    layout = Layout(Path(config.out))
    models = models or CheckpointModels(
        captioner=config.captioner,
        filter=config.filter,
        search=config.search,
        device=config.device,
    )
    settings = _settings(config, models)
    with _disk_told(), alone(layout.out):
        plan = make_plan(config.data, layout, settings)
        _clean(layout)
        strict.save(config, layout.out / "config.json")
        try:
            counts = _do_shards(config, plan, layout, settings, models, engine)
        finally:
            _clean(layout)
        check_whole(plan.tasks, layout, counts)
        total = Counts()
        for task in plan.tasks:
            total.add(counts[task.name])
        judge_bad(total, config, at_end=True)
        summary = Summary(
            out=layout.out,
            shards=len(plan.tasks),
            counts=total,
            settings=settings,
            seconds=time.monotonic() - started,
        )
        write_json(layout.out / "summary.json", summary.to_json())
        write_report(layout, plan.tasks, total, settings)
        done_now = total.images - sum(of_shard.images for of_shard in plan.done.values())
        write_json(
            layout.out / "timing.json", {"images": done_now, "seconds": round(summary.seconds, 3)}
        )
    return summary


@final
@dataclass(frozen=True, slots=True)
class ShardWorkers:
    """Makes workers that do shards; travels to their processes."""

    layout: Layout
    settings: Settings
    models: ModelSource

    def __call__(self, place: int) -> "ShardWorker":
        """A worker with its models loaded."""
        # Sums in another order are other bytes: the output must not depend on spare cores.
        torch.set_num_threads(1)
        return ShardWorker(self.layout, self.settings, self.models.load(place))


@final
@dataclass(frozen=True, slots=True)
class ShardWorker:
    """Does shards with its models."""

    layout: Layout
    settings: Settings
    models: Models

    def __call__(self, task: ShardTask) -> Generator[BatchDone, None, ShardOutcome]:
        """Process one shard."""
        return process_shard(task, self.layout, self.settings, self.models)


def _settings(config: CapFiltConfig, models: ModelSource) -> Settings:
    captioner, matcher = models.fingerprints()
    return Settings(
        captioner=captioner,
        filter=matcher,
        threshold=config.threshold,
        seed=config.seed,
        captions=config.captions,
        search=config.search,
        batch_size=config.batch_size,
        rules=config.rules,
    )


def _do_shards(
    config: CapFiltConfig,
    plan: Plan,
    layout: Layout,
    settings: Settings,
    models: ModelSource,
    engine: Engine | None,
) -> dict[str, Counts]:
    """Counts of all shards by name, when all are done."""
    workers = min(config.workers or models.default_workers(), max(len(plan.waiting), 1))
    engine = engine or (InlineEngine() if workers == 1 else LocalEngine(workers))
    before = sum(of_shard.images for of_shard in plan.done.values())
    say(
        f"capfilt: {len(plan.tasks)} shards, {len(plan.done)} done already, "
        f"{workers} worker{'s' if workers > 1 else ''}, to {layout.out}"
    )
    counts, failed = dict(plan.done), dict[str, Failed[ShardTask]]()
    make_worker = ShardWorkers(layout, settings, models)
    threads = torch.get_num_threads()
    try:
        total = before + estimate_samples(plan.waiting)
        with progress(total, "capfilt", "images", before) as bar:
            waiting = plan.waiting
            for _ in range(ATTEMPTS):
                tally = Tally(config, bar, counts)
                tally.listen(engine, waiting, make_worker)
                failed |= {failure.item.name: failure for failure in tally.failed}
                waiting = [f.item for f in tally.failed if f.kind == "died"]
                if not waiting:
                    break
    finally:
        torch.set_num_threads(threads)
    failed = {name: failure for name, failure in failed.items() if name not in counts}
    if failed:
        raise BlipError(tell_failures(list(failed.values())))
    return counts


@contextmanager
def _disk_told() -> Iterator[None]:
    """A folder that cannot be written, or a full disk, is told in one line."""
    try:
        yield
    except OSError as error:
        raise BlipError(f"{error.filename or 'the output'}: {error.strerror or error}") from error


def _clean(layout: Layout) -> None:
    """Remove what killed runs and dead workers left half-written."""
    shutil.rmtree(layout.part("x").parent, ignore_errors=True)
    for folder in ("ledger", "done", "."):
        for leftover in (layout.out / folder).glob(".*.part"):
            leftover.unlink(missing_ok=True)
