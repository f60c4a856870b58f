"""How long the demo's evaluations take (300 images, 1500 texts, two models), now and before.

    python -m benchmarks.evaluation --run runs/demo [--before CHECKOUT] [--rounds 3] [--threads 2]
        [--save]

`--run` is the folder of a finished `blip demo`; CHECKOUT holds an earlier version (`git worktree
add CHECKOUT 275f7a7`), whose turn comes before each of ours. Each turn is a process that has loaded
torch when the clock starts, as a main job has. The earlier version ran both evaluations side by
side in processes of their own; this one runs them one after the other in the main process. CPU
seconds count where other work runs beside it. The last line is JSON: the best of all rounds.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import ROOT, describe
from benchmarks.report import save

TIMES = ("stage_seconds", "seconds", "cpu_seconds")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure in turns, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run", type=Path, required=True, metavar="DIR")
    parser.add_argument("--before", type=Path, metavar="CHECKOUT")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), metavar="N")
    parser.add_argument("--save", action="store_true", help="write the line to benchmarks/results")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    versions = {"now": ROOT} if args.before is None else {"before": args.before, "now": ROOT}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in versions}
    for _ in range(args.rounds):
        for name, checkout in versions.items():
            found[name].append(turn(checkout, args.run, args.threads, processes=name == "before"))
            print(name, {time: round(found[name][-1][time], 2) for time in TIMES}, flush=True)
    best = {
        name: {time: round(min(one[time] for one in rounds), 2) for time in TIMES}
        for name, rounds in found.items()
    }
    result: dict[str, Any] = {**best, "rounds": args.rounds}
    if args.before is not None:
        result["ratios"] = {
            time: round(best["now"][time] / best["before"][time], 3) for time in TIMES
        }
        result["largest_difference_of_recalls"] = largest_difference(
            found["before"][0]["recalls"], found["now"][0]["recalls"]
        )
    result["environment"] = describe(torch.device("cpu"), torch.float32, ("torch",))
    line = json.dumps(result)
    print(line)
    if args.save:
        save(line, "evaluation.txt")
    return 0


def turn(checkout: Path, run: Path, threads: int, *, processes: bool) -> dict[str, Any]:
    """What one version needs for both evaluations."""
    environment = os.environ | {
        "PYTHONPATH": str(checkout / "src"),
        "OMP_NUM_THREADS": str(threads),
    }
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [
                *(sys.executable, ROOT / "benchmarks" / "evaluation_stages.py"),
                *(run.resolve(), Path(folder) / "out", "--threads", str(threads)),
                *(["--processes"] if processes else []),
            ],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        sys.exit(f"{checkout}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def largest_difference(
    before: Sequence[dict[str, float]], now: Sequence[dict[str, float]]
) -> float:
    """Between recalls by the logit, in points."""
    return max(
        abs(value - other[name])
        for one, other in zip(before, now, strict=True)
        for name, value in one.items()
    )


if __name__ == "__main__":
    sys.exit(main())
