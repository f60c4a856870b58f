"""`blip pretrain`: pre-training alone, from a recipe or a config.json."""

import argparse
from pathlib import Path

TAKES_OVERRIDES = True
EXAMPLES = """\
examples:
  blip pretrain base --out runs/base --data.batch_size 64 --train.precision bfloat16
  blip pretrain base --out runs/mine --vision_weights vit.safetensors --text_weights bert/
  blip pretrain base --out runs/scratch --vision_weights none --text_weights none
  blip pretrain runs/demo/baseline/config.json --out runs/again
  blip pretrain base --keys

A run that was stopped, or killed, goes on with the same command, to the same weights."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options; any other --part.field VALUE changes the configuration."""
    from blip.cli.recipe import recipe_names

    names = ", ".join(recipe_names("pretrain"))
    parser.add_argument("recipe", metavar="RECIPE|config.json", help=names)
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the run")
    parser.add_argument(
        "--keys", action="store_true", help="list all keys that --part.field VALUE may change"
    )


def run(args: argparse.Namespace) -> int:
    """Pre-train."""
    from blip.cli.recipe import read_config
    from blip.config.override import describe
    from blip.errors import UsageError
    from blip.tasks.config import PretrainConfig

    config = read_config(PretrainConfig, "pretrain", args.recipe, args.overrides)
    if args.keys:
        print(describe(config))
        return 0
    if args.out is None:
        raise UsageError("--out DIR is missing: the folder of the run")
    from blip import dist
    from blip.tasks.pretrain import train

    with dist.processes():
        train(config, args.out)
    print(f"checkpoint   {args.out}/checkpoint")
    return 0
