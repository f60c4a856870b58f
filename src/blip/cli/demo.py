"""`blip demo`: the main job on the built-in data."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from blip.cli.from_dataclass import Options
from blip.cli.parser import Parser
from blip.cli.training import RecipeOptions
from blip.config.ranges import SEED, check_fields

EXAMPLES = """\
examples:
  blip demo
  blip demo --out runs/demo-1 --seed 1
  blip demo --out runs/short --pretrain.steps 500
  blip demo --keys

Draws its own data, needs no download, and takes about ten minutes on two cores. The same as
`blip bootstrap scenes_demo`; if a run is stopped, the same command resumes it, and one of
another seed is replaced only with `--overwrite`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoOptions:
    """Options of `blip demo`, beside the keys of the configuration."""

    out: Path = Path("runs/demo")
    """Folder of the run."""
    seed: Annotated[int, SEED] = 0
    """Seed of data and trainings."""
    how: RecipeOptions = RecipeOptions()

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_fields(self)


OPTIONS = Options(of=DemoOptions)


def add_arguments(parser: Parser) -> None:
    """Declare the options; any other --part.field VALUE changes the configuration."""
    from blip.cli.bootstrap import declare

    declare(parser, OPTIONS)


def run(args: argparse.Namespace) -> int:
    """Run or resume the demo."""
    from blip.cli.bootstrap import run_recipe
    from blip.config.override import override
    from blip.recipes.bootstrap import scenes_demo

    options = OPTIONS.read(args)
    config = override(scenes_demo(), [f"--seed={options.seed}", *args.overrides])
    return run_recipe(config, options.out, options.how)
