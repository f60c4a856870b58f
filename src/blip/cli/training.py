"""What the verbs that train have in common: the folder of the run, and how it goes on."""

import argparse
import os
from pathlib import Path
from typing import Any

from blip.cli import options

ABOUT_RESUMING = """\
A run that was stopped, or killed, goes on with the same command, to the same weights. One that is
finished is left alone. `--resume never` starts nothing in a folder that is not empty; `--resume
DIR` goes on from a checkpoint of another run, a folder such as runs/one/checkpoints/step-00020000,
and then, when it is given again, from its own."""


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `--out`, `--resume` and `--keys`."""
    parser.add_argument(
        "--out", type=options.output_folder, metavar="DIR", help="folder of the run"
    )
    parser.add_argument(
        "--resume",
        default="auto",
        metavar="auto|never|DIR",
        help="go on from the run's own newest checkpoint (auto), never, or from that of another",
    )
    parser.add_argument(
        "--keys", action="store_true", help="list all keys that --part.field VALUE may change"
    )


def is_to_run(config: Any, out: Path | None, resume: str) -> bool:
    """Whether the run is to be started or gone on with; prepares the folder for `--resume DIR`.

    Raises UsageError where there is no folder, or where what lies in it forbids to.
    """
    from blip.config.strict import load_json, to_json
    from blip.errors import UsageError
    from blip.log import say

    if out is None:
        raise UsageError("--out DIR is missing: the folder of the run")
    # Under torchrun the first process alone looks and prepares; the others meet it afterwards.
    first = os.environ.get("RANK", "0") == "0"
    if resume == "never":
        if first and out.is_dir() and any(out.iterdir()):
            raise UsageError(
                f"{out} is not empty, and --resume never starts no run there; "
                "choose another --out, or leave --resume away to go on"
            )
        return True
    if (out / "checkpoint").is_dir():
        if load_json(out / "config.json") != to_json(config):
            raise UsageError(
                f"{out} holds a finished run of another configuration; choose another --out"
            )
        say(f"{out} is finished already")
        return False
    if resume != "auto" and first:
        from blip.train.checkpoint import adopt

        adopt(Path(resume), out)
    return True


def tell_checkpoint(out: Path) -> None:
    """Say where the result is; of several processes the first one does."""
    if os.environ.get("RANK", "0") == "0":
        print(f"checkpoint   {out}/checkpoint")
