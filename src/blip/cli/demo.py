"""`blip demo`: the main job on the built-in data."""

import argparse
from pathlib import Path

from blip.cli import options

TAKES_OVERRIDES = True
EXAMPLES = """\
examples:
  blip demo
  blip demo --out runs/demo-1 --seed 1
  blip demo --out runs/short --pretrain.steps 500
  blip demo --keys

Draws its own data, needs no download, and takes about ten minutes on two cores. The same as
`blip bootstrap scenes_demo`; a run that was stopped goes on with the same command, and one of
another seed is replaced only with `--overwrite`."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options; any other --part.field VALUE changes the configuration."""
    from blip.cli.recipe import add_recipe_options
    from blip.cli.training import add_change_arguments

    parser.add_argument(
        "--out",
        type=options.output_folder,
        default=Path("runs/demo"),
        metavar="DIR",
        help="folder of the run (runs/demo)",
    )
    parser.add_argument(
        "--seed", type=options.seed, default=0, metavar="N", help="seed of data and trainings (0)"
    )
    add_change_arguments(parser)
    add_recipe_options(parser, "bootstrap")


def run(args: argparse.Namespace) -> int:
    """Run or go on with the demo."""
    from blip.cli.bootstrap import run_bootstrap
    from blip.config.override import describe, override
    from blip.recipes.bootstrap import scenes_demo

    config = override(scenes_demo(), [f"--seed={args.seed}", *args.overrides])
    if args.keys:
        print(describe(config))
        return 0
    return run_bootstrap(config, args.out, args)
