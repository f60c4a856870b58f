"""`blip bootstrap`: the main job from a recipe or a config.json."""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blip.cli.from_dataclass import Options
from blip.cli.parser import Parser
from blip.cli.training import RecipeOptions
from blip.recipes.config import BootstrapConfig

EXAMPLES = """\
examples:
  blip bootstrap scenes_demo --out runs/demo
  blip bootstrap flickr8k --out runs/flickr8k --seed 1
  blip bootstrap flickr8k --out runs/flickr8k --vision_weights vit.safetensors --text_weights bert/
  blip bootstrap scenes_demo --out runs/paper --init fresh --rounds 2
  blip bootstrap scenes_demo --out runs/short --pretrain.steps 500 --data.noise 0.6
  blip bootstrap runs/demo/config.json --out runs/again
  blip bootstrap runs/mine.json --out runs/mine --vision_weights vit.pth --text_weights bert/
  blip bootstrap --list
  blip bootstrap scenes_demo --keys

If a run is stopped or killed, run the same command again to resume it. In the folder of a run of
other settings a command says what differs and stops: `--overwrite` repeats the stages that the
change affects, `--allow-change` resumes an unfinished training with it.

The recipe flickr8k with weights of a ViT, a BERT or both takes its sizes from their files."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BootstrapOptions:
    """Options of `blip bootstrap`, beside the keys of its configuration."""

    recipe: str | None = None
    """A recipe (--list shows them) or a config.json."""
    out: Path | None = None
    """Folder of the run; required, except with --keys."""
    how: RecipeOptions = RecipeOptions()


OPTIONS = Options(of=BootstrapOptions, arguments=("recipe",))


def add_arguments(parser: Parser) -> None:
    """Declare the options; any other --part.field VALUE changes the configuration."""
    declare(parser, OPTIONS)


def declare(parser: Parser, options: Options[Any]) -> None:
    """Declare the options of a verb that runs the main job, its recipes and their keys."""
    from blip.cli.recipe import add_list

    options.declare(parser)
    add_list(parser, "bootstrap")
    parser.classes = (BootstrapConfig,)


def run(args: argparse.Namespace) -> int:
    """Run or resume the main job."""
    from blip.cli.from_weights import read_bootstrap
    from blip.errors import UsageError

    options = OPTIONS.read(args)
    if options.recipe is None:
        raise UsageError("name a recipe or a config.json; `blip bootstrap --list` shows recipes")
    config = read_bootstrap(options.recipe, args.overrides)
    return run_recipe(config, options.out, options.how)


def run_recipe(config: BootstrapConfig, out: Path | None, how: RecipeOptions) -> int:
    """List the keys of the main job, or run or resume it and print its table.

    Raises UsageError if it is to run and no folder was named, and under torchrun.
    """
    from blip.cli.rows import print_json, print_keys

    if how.keys:
        print_keys(config, json=how.json)
        return 0
    _refuse_torchrun()
    from blip.bootstrap import bootstrap
    from blip.cli.training import need_folder
    from blip.log import say

    out = need_folder(out)
    say(f"blip bootstrap: writing to {out}; if it stops, run the same command again to resume")
    allowed = {"overwrite": how.overwrite, "allow_change": how.allow_change}
    summary = bootstrap(config, out, **allowed)
    if how.json:
        print_json({"out": str(out), **summary})
    else:
        print_table(summary, out)
    return 0


def _refuse_torchrun() -> None:
    from blip.errors import UsageError

    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise UsageError(
            "the main job starts processes of its own and cannot run under torchrun; "
            "run it alone, or `blip pretrain`, `blip finetune` and `blip capfilt` by themselves"
        )


def print_table(summary: dict[str, Any], out: Path) -> None:
    """The result: baseline beside bootstrapped model, and where the rest is."""
    from rich.console import Console
    from rich.table import Table

    from blip.reports.tables import capfilt_rows, comparison_rows

    table = Table("", "noisy baseline", "bootstrapped", title="The same training budget")
    for row in comparison_rows(summary):
        table.add_row(*row)
    console = Console()
    console.print(table)
    cleaning = Table("CapFilt", "")
    for name, value in capfilt_rows(summary["capfilt"]):
        cleaning.add_row(name, value)
    console.print(cleaning)
    rounds = len(summary["rounds"])
    print(f"report    {out}/report.html\nsummary   {out}/summary.json")
    print(f"try       blip caption {out}/round-{rounds + 1}/pretrain PICTURE")
    print(f"          blip match {out}/round-{rounds}/filter PICTURE 'TEXT'")
