"""What the verbs that train have in common: the folder of the run, and how it goes on."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blip.cli import options

if TYPE_CHECKING:
    from blip.tasks.config import RunOptions

ABOUT_RESUMING = """\
A run that was stopped, or killed, goes on with the same command, to the same weights. One that is
finished is left alone. `--resume never` starts nothing in a folder that is not empty; `--resume
DIR` goes on from a checkpoint of another run, a folder such as runs/one/checkpoints/step-00020000,
and then, when it is given again, from its own.

A command that would go on with another learning rate, seed, number of steps or other data than
before says what differs and stops. `--allow-change` goes on with it, and config.json then holds all
configurations of the run, each with the step from which it held; `--overwrite` begins anew. What
changes no weight (how often a checkpoint is written or a line logged, the device, the number of
workers, the validation) may always be changed."""


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `--out`, `--resume`, and what allows a changed configuration."""
    parser.add_argument(
        "--out", type=options.output_folder, metavar="DIR", help="folder of the run"
    )
    parser.add_argument(
        "--resume",
        default="auto",
        metavar="auto|never|DIR",
        help="go on from the run's own newest checkpoint (auto), never, or from that of another",
    )
    add_change_arguments(parser)


def add_change_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `--allow-change` and `--overwrite`."""
    parser.add_argument(
        "--allow-change",
        action="store_true",
        help="go on with a configuration that differs; config.json keeps both",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace what was made with a configuration that differs",
    )


def train_from_recipe(name: str, args: argparse.Namespace) -> int:
    """Train the task of that name with the recipe, overrides and options of a command line."""
    from blip.cli.recipe import read_config
    from blip.config.override import describe
    from blip.tasks.table import TASKS

    task = next(task for task in TASKS if task.name == name)
    config = read_config(task.config, name, args.recipe, args.overrides)
    if args.keys:
        print(describe(config))
        return 0
    options = read_options(args)
    if not is_finished(config, args.out):
        from blip import dist

        with dist.processes(config.train.device):
            task.train(config, args.out, options)
    print_checkpoint(args.out)
    return 0


def read_options(args: argparse.Namespace) -> "RunOptions":
    """What the run does with what it finds in its folder; raises UsageError where that forbids it.

    Reads the folder alone. A run whose folder is fine may still be refused by its configuration.
    """
    from blip.errors import UsageError
    from blip.tasks.config import RunOptions

    if args.out is None:
        raise UsageError("--out DIR is missing: the folder of the run")
    # Under torchrun the first process alone looks: the others come to a folder that it fills.
    first = os.environ.get("RANK", "0") == "0"
    if args.resume == "never" and first and args.out.is_dir() and any(args.out.iterdir()):
        raise UsageError(
            f"--resume never needs an empty folder, and {args.out} is not; choose another --out, "
            "or leave out --resume to go on"
        )
    start = None if args.resume in ("auto", "never") else Path(args.resume)
    if start is not None and first:
        from blip.train.checkpoint import check_source

        check_source(start, args.out)
    return RunOptions(allow_change=args.allow_change, overwrite=args.overwrite, start=start)


def is_finished(config: Any, out: Path) -> bool:
    """Whether the model of this configuration is there already; says so. Loads no torch."""
    from blip.config.history import find_changes, holds_config, load_config
    from blip.log import say
    from blip.tasks.config import FREE_TO_CHANGE

    path = out / "config.json"
    if not (out / "checkpoint").is_dir() or not holds_config(type(config), path):
        return False
    if find_changes(load_config(type(config), path), config, FREE_TO_CHANGE):
        return False
    say(f"{out} is finished already")
    return True


def print_checkpoint(out: Path) -> None:
    """Say where the result is; of several processes the first one does."""
    if os.environ.get("RANK", "0") == "0":
        print(f"checkpoint   {out}/checkpoint")
