"""Estimates the work, disk and time of a job from a few images of its first waiting shard."""

import shutil
import time
from collections.abc import Generator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from blip.capfilt.config import CapFiltConfig
from blip.capfilt.ledger.records import BatchDone, Counts, ShardOutcome
from blip.capfilt.models.checkpoints import choose_decoders
from blip.capfilt.models.choose import checkpoint_models, choose_settings, resolve_auto
from blip.capfilt.progress.plan import estimate_samples, make_plan
from blip.capfilt.shards.layout import Layout, describe_output
from blip.capfilt.shards.source import ShardTask, find_shards, read_samples
from blip.capfilt.stages.worker import ShardWorkers
from blip.data.keys import storable
from blip.data.writers.meta import encodable
from blip.data.writers.shards import ShardWriter

IMAGES = 8
"""Images that are measured, at most."""


def forecast(config: CapFiltConfig) -> str:
    """The estimate as lines of text; writes nothing into the output folder.

    Some images of the first waiting shard go through both models, in batches as in the job. Raises
    UsageError if the configuration cannot work.
    """
    layout = Layout(Path(config.out), config.write)
    # Before the models are loaded, so that faults of the data are reported at once.
    tasks = find_shards(config.data, config.rows, need_text=config.captions == 0)
    config = resolve_auto(config, layout)
    models = checkpoint_models(config)
    settings = choose_settings(config, models)
    plan = make_plan(tasks, layout, settings)
    images = estimate_samples(plan.waiting)
    rows = [
        ("shards", f"{len(plan.tasks)}, {len(plan.done)} of them done already"),
        ("images", f"about {images} to be done, {1 + config.captions} texts or more each"),
        ("at a time", f"{settings.batch_size} images in {settings.precision}"),
    ]
    if plan.waiting:
        if config.engine == "ray" and config.workers is None:
            workers, described = 1, "a worker"
        else:
            workers = config.workers or models.default_workers(settings.batch_size)
            workers = min(workers, len(plan.waiting))
            described = f"{workers} worker{'s' if workers > 1 else ''}"
        with TemporaryDirectory() as folder:
            make_worker = ShardWorkers(Layout(Path(folder), config.write), settings, models)
            if config.engine == "local":
                decoders = choose_decoders(config.devices, workers)
                make_worker = replace(make_worker, decoders=decoders)
            counts, seconds, size = _try(plan.waiting[0], make_worker)
        tried = max(counts.images, 1)
        rows += [
            ("time", f"{_format_seconds(images * seconds / tried / workers)} with {described}"),
            ("disk", f"{_format_bytes(images * size / tried)}; {_free(config.out)} are free"),
            ("by", f"{counts.images} images in {seconds:.1f} s, {counts.texts_kept} texts kept"),
        ]
    return "".join(f"{name:<11}{value}\n" for name, value in rows)


def _try(task: ShardTask, make_worker: ShardWorkers) -> tuple[Counts, float, int]:
    """Counts, seconds and bytes of the output of some images."""
    threads, layout = torch.get_num_threads(), make_worker.layout
    sample = layout.out / "sample.tar"
    with ShardWriter(sample) as writer:
        for number, found in enumerate(islice(read_samples(task), IMAGES)):
            meta = encodable(found.meta)
            if found.texts:
                meta = {**meta, "captions": [storable(text) for text in found.texts]}
            writer.write(f"{number}", found.image or b"", found.extension, "", meta)
    trial = ShardTask(name="trial", path=str(sample))
    try:
        worker = make_worker(0)
        # The first run takes longer: memory is allocated, weights are packed.
        _exhaust(worker(trial))
        started = time.perf_counter()
        counts = _exhaust(worker(trial))
        seconds = time.perf_counter() - started
    finally:
        torch.set_num_threads(threads)
    written = sum(describe_output(layout, "trial").values())
    return counts, seconds, written


def _exhaust(steps: Generator[BatchDone, None, ShardOutcome]) -> Counts:
    """Process a shard to its end; returns its counts."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value.counts


def _free(out: str) -> str:
    """Free space of the disk that holds the output."""
    folder = Path(out).absolute()
    there = next(path for path in (folder, *folder.parents) if path.is_dir())
    return _format_bytes(shutil.disk_usage(there).free)


def _format_bytes(number: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:,.1f} TB"


def _format_seconds(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:,.1f} h"
