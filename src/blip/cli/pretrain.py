"""`blip pretrain`: pre-training alone, from a recipe or a config.json."""

import argparse

from blip.cli.training import ABOUT_RESUMING

TAKES_OVERRIDES = True
EXAMPLES = f"""\
examples:
  blip pretrain base --out runs/base --data.batch_size 64 --train.precision bfloat16
  blip pretrain base --out runs/mine --vision_weights vit.safetensors --text_weights bert/
  blip pretrain base --out runs/mine --data.sources shards/human,shards/web
  blip pretrain base --out runs/scratch --vision_weights none --text_weights none
  blip pretrain base --out runs/judged --train.evaluate_every 1000 --validation.shards shards/val
  blip pretrain base_129m --out runs/base_129m --train.wandb blip
  blip pretrain base --out runs/longer --resume runs/base/checkpoints/step-00020000
  blip pretrain runs/demo/baseline/config.json --out runs/again
  blip pretrain --list
  blip pretrain base --keys

{ABOUT_RESUMING}"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options; any other --part.field VALUE changes the configuration."""
    from blip.cli.recipe import add_recipe_options, recipe_names
    from blip.cli.training import add_run_arguments

    names = ", ".join(recipe_names("pretrain"))
    parser.add_argument("recipe", metavar="RECIPE|config.json", help=names)
    add_run_arguments(parser)
    add_recipe_options(parser, "pretrain")


def run(args: argparse.Namespace) -> int:
    """Pre-train."""
    from blip.cli.training import train_from_recipe

    return train_from_recipe("pretrain", args)
