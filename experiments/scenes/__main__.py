"""Each task on built-in scenes beside blind baselines, with several seeds.

    python -m experiments.scenes [TASK ...] [--seeds 0 1 2] --demo runs/demo --out runs/scenes
    python -m experiments.scenes vqa --out runs/try -- --train.steps 100

What stands after `--` changes the recipes. `--demo` is the folder of a finished `blip demo`. Does
what is not done yet: a training that was stopped is resumed, a finished one is not repeated. Then
prints the tables, and writes them into README.md and, with seeds, commit and machine, into
results.json beside this file.
"""

import argparse
import shlex
import sys
from pathlib import Path

from blip.reports.origin import origin
from experiments.results import write_results
from experiments.scenes.runs import Settings, run
from experiments.scenes.table import lines, summarise
from experiments.scenes.tasks import TASKS

HERE = Path(__file__).parent


def main(arguments: list[str] | None = None) -> int:
    """Run, print, write."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.scenes", description=(__doc__ or "").splitlines()[0]
    )
    names = [task.name for task in TASKS]
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"{', '.join(names)} (all)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N")
    parser.add_argument("--demo", type=Path, default=Path("runs/demo"), metavar="DIR")
    parser.add_argument("--out", type=Path, default=Path("runs/scenes"), metavar="DIR")
    parser.add_argument("--results", type=Path, default=HERE, metavar="DIR", help="(beside this)")
    words = sys.argv[1:] if arguments is None else arguments
    end = words.index("--") if "--" in words else len(words)
    args = parser.parse_args(words[:end])
    if unknown := [name for name in args.tasks if name not in names]:
        parser.error(f"unknown task {unknown[0]}; allowed: {', '.join(names)}")
    settings = Settings(demo=args.demo, out=args.out, changes=tuple(words[end + 1 :]))
    made = origin(HERE)
    for task in TASKS:
        if task.name in (args.tasks or names):
            runs = [run(task, seed, settings) for seed in args.seeds]
            summary = summarise(task, runs)
            table = "\n".join(lines(task, summary))
            print(table)
            seeds = ("--seeds", *map(str, args.seeds), *words[end:])
            summary["command"] = shlex.join(
                ["python", "-m", "experiments.scenes", task.name, *seeds]
            )
            write_results(args.results, task.name, {**summary, **made}, table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
