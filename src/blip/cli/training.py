"""What the verbs that train have in common: the folder of the run, and how it is resumed."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blip.tasks.config import RunOptions

ABOUT_RESUMING = """\
If a run is stopped or killed, run the same command again to resume it; it ends with the same
weights. A finished run stays as it is. `--resume never` refuses a folder that is not empty;
`--resume DIR` starts from a checkpoint of another run, a folder such as
runs/one/checkpoints/step-00020000, and resumes from its own when it is given again.

A command that would resume with another learning rate, seed, number of steps or other data than
before says what differs and stops. `--allow-change` resumes with it, and config.json then holds all
configurations of the run, each with the step from which it held; `--overwrite` starts from the
beginning. Settings that do not affect the weights (how often a checkpoint is written or a line
logged, the device, the number of workers, the validation) may always change."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecipeOptions:
    """What becomes of a folder whose run had other settings; whether keys are only listed."""

    allow_change: bool = False
    """Resume with a configuration that differs; config.json keeps both."""
    overwrite: bool = False
    """Replace what was made with a configuration that differs."""
    json: bool = False
    """Print a JSON object."""
    keys: bool = False
    """List all keys that --part.field VALUE may change, and exit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingOptions:
    """The folder of a training, and how it is resumed."""

    out: Path | None = None
    """Folder of the run; required, except with --keys."""
    resume: str = "auto"
    """Resume from the run's own newest checkpoint (auto), never, or from that of another."""
    recipe: RecipeOptions = RecipeOptions()


def train_from_recipe(
    name: str, recipe: str, overrides: Sequence[str], options: TrainingOptions
) -> int:
    """Train the task of that name with a recipe and what a command line changes of it."""
    from blip.cli.recipe import read_config
    from blip.cli.rows import print_keys
    from blip.tasks.table import TASKS

    task = next(task for task in TASKS if name in task.names)
    config = read_config(task.config, task.name, recipe, overrides)
    if options.recipe.keys:
        print_keys(config, json=options.recipe.json, meanings=task.meanings)
        return 0
    out = need_folder(options.out)
    how = run_options(options, out)
    if not is_finished(config, out):
        from blip import dist

        with dist.processes(config.train.device):
            task.train(config, out, how)
    print_checkpoint(out, json=options.recipe.json)
    return 0


def need_folder(out: Path | None) -> Path:
    """The folder of a run; raises UsageError if none was named."""
    from blip.errors import UsageError

    if out is None:
        raise UsageError("--out DIR is missing: the folder of the run")
    return out


def run_options(options: TrainingOptions, out: Path) -> "RunOptions":
    """What the run does with what it finds in its folder; raises UsageError if that forbids it.

    Reads the folder alone. A run whose folder is fine may still be refused by its configuration.
    """
    from blip.errors import UsageError
    from blip.tasks.config import RunOptions

    # Under torchrun the first process alone looks: the others come to a folder that it fills.
    first = os.environ.get("RANK", "0") == "0"
    if options.resume == "never" and first and out.is_dir() and any(out.iterdir()):
        raise UsageError(
            f"--resume never needs an empty folder, and {out} is not; choose another --out, "
            "or leave out --resume to resume it"
        )
    how = {"--allow-change": options.recipe.allow_change, "--overwrite": options.recipe.overwrite}
    if options.resume == "never" and any(how.values()):
        named = ", ".join(name for name, is_typed in how.items() if is_typed)
        raise UsageError(f"{named} would not be used with --resume never; leave it out")
    start = None if options.resume in ("auto", "never") else Path(options.resume)
    if start is not None and first:
        from blip.train.checkpoint import check_source

        check_source(start, out)
    return RunOptions(
        allow_change=options.recipe.allow_change, overwrite=options.recipe.overwrite, start=start
    )


def is_finished(config: Any, out: Path) -> bool:
    """Whether the model of this configuration already exists; says so. Loads no torch."""
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


def print_checkpoint(out: Path, *, json: bool) -> None:
    """Say where the result is; of several processes the first one does."""
    if os.environ.get("RANK", "0") == "0":
        from blip.cli.rows import print_result

        where = f"{out}/checkpoint"
        print_result({"checkpoint": where}, f"checkpoint   {where}", json=json)
