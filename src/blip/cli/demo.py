"""`blip demo`: the main job on the built-in data."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from blip.cli.from_dataclass import Options
from blip.cli.parser import Parser
from blip.cli.training import ChangeOptions
from blip.config.ranges import SEED, check_fields
from blip.recipes.config import BootstrapConfig

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
    """What `blip demo` is asked to do, beside the keys of the configuration."""

    out: Path = Path("runs/demo")
    """Folder of the run."""
    seed: Annotated[int, SEED] = 0
    """Seed of data and trainings."""
    change: ChangeOptions = ChangeOptions()
    keys: bool = False
    """List all keys that --part.field VALUE may change, and exit."""

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        check_fields(self)


OPTIONS = Options(of=DemoOptions)


def add_arguments(parser: Parser) -> None:
    """Declare the options; any other --part.field VALUE changes the configuration."""
    from blip.cli.recipe import add_list

    OPTIONS.declare(parser)
    add_list(parser, "bootstrap")
    parser.classes = (BootstrapConfig,)


def run(args: argparse.Namespace) -> int:
    """Run or resume the demo."""
    from blip.cli.bootstrap import run_bootstrap
    from blip.config.override import describe, override
    from blip.recipes.bootstrap import scenes_demo

    options = OPTIONS.read(args)
    config = override(scenes_demo(), [f"--seed={options.seed}", *args.overrides])
    if options.keys:
        print(describe(config))
        return 0
    return run_bootstrap(config, options.out, options.change)
