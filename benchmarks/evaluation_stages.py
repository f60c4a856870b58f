"""For evaluation.py: the two evaluations at the end of a main job, timed as that job runs them.

It runs with any version since that of the first demo: names that have moved are looked up.
"""

import argparse
import importlib
import importlib.util
import json
import resource
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from blip import jobs
from blip.model.config import ModelConfig
from blip.recipes.bootstrap import scenes_demo
from blip.stage import Stage

MODELS = ("baseline", "round-2/pretrain")


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate, print one line of JSON; progress goes to stderr."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a finished `blip demo`")
    parser.add_argument("out", type=Path, help="folder that is made anew")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--processes", action="store_true", help="each in a process of its own")
    args = parser.parse_args(argv)
    # As after the trainings of a main job.
    torch.set_num_threads(args.threads)
    shutil.rmtree(args.out, ignore_errors=True)
    stages = list(make_stages(args.run, args.out))
    cpu, begun = cpu_seconds(), time.monotonic()
    for together in [stages] if args.processes else [[stage] for stage in stages]:
        jobs.run_together(together, len(MODELS))
    print(
        json.dumps(
            {
                "stage_seconds": sum(stage.seconds for stage in stages),
                "seconds": time.monotonic() - begun,
                "cpu_seconds": cpu_seconds() - cpu,
                "recalls": [recalls(stage.folder / "evaluation.json") for stage in stages],
            }
        )
    )
    return 0


def make_stages(run: Path, out: Path) -> Iterator[Stage]:
    """The evaluation of either model on the test split."""
    moved = importlib.util.find_spec("blip.evaluation") is None
    config_of: Any = importlib.import_module(
        "blip.reports.config" if moved else "blip.evaluation.config"
    ).EvaluateConfig
    demo = scenes_demo()
    for name in MODELS:
        config = config_of(
            checkpoint=str(readable(run / name, out / "checkpoints" / name)),
            data=(str(run / "data" / "test"),),
            retrieval=demo.retrieval,
            captioning=demo.captioning,
        )
        folder = out / name
        yield Stage(name, folder, [name], jobs.Job(config, folder), jobs.KINDS[config_of])


def readable(checkpoint: Path, copy: Path) -> Path:
    """The checkpoint, or a `copy` of it without what this version does not know of sizes."""
    # Versions that write the format of a checkpoint know all that stands there.
    if importlib.util.find_spec("blip.model.checkpoint.format") is not None:
        return checkpoint
    shutil.copytree(checkpoint / "checkpoint", copy)
    content = json.loads((copy / "config.json").read_text("utf-8"))
    known = {one.name for one in fields(ModelConfig)} & content.keys()
    (copy / "config.json").write_text(json.dumps({key: content[key] for key in known}), "utf-8")
    return copy


def cpu_seconds() -> float:
    """Of this process and of those that it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def recalls(path: Path) -> dict[str, float]:
    """Ranked by the logit, as all versions can."""
    found = json.loads(path.read_text("utf-8"))
    by_logit = found.get("retrieval_by_score", {}).get("logit", found["retrieval"])
    return {f"{way}{k}": by_logit[f"{way}{k}"] for way in ("tr", "ir") for k in (1, 5, 10)}


if __name__ == "__main__":
    sys.exit(main())
