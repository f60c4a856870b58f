"""`blip pretrain`: pre-training alone, from a recipe or a config.json."""

import argparse
from dataclasses import dataclass

from blip.cli.from_dataclass import Options
from blip.cli.parser import Parser
from blip.cli.training import ABOUT_RESUMING, TrainingOptions
from blip.tasks.config import PretrainConfig

EXAMPLES = f"""\
examples:
  blip pretrain base --out runs/base --data.batch_size 64 --train.precision bfloat16
  blip pretrain base --out runs/mine --vision_weights vit.safetensors --text_weights bert/
  blip pretrain base --out runs/mine --data.sources shards/human,shards/web
  blip pretrain base --out runs/scratch --vision_weights none --text_weights none
  blip pretrain base --out runs/validated --train.evaluate_every 1000 --validation.shards shards/val
  blip pretrain base_129m --out runs/base_129m --train.wandb blip
  blip pretrain base --out runs/longer --resume runs/base/checkpoints/step-00020000
  blip pretrain runs/demo/baseline/config.json --out runs/again
  blip pretrain --list
  blip pretrain base --keys

{ABOUT_RESUMING}"""


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainOptions:
    """Options of `blip pretrain`, beside the keys of its configuration."""

    recipe: str
    """A recipe (--list shows them) or a config.json."""
    training: TrainingOptions = TrainingOptions()


OPTIONS = Options(of=PretrainOptions, arguments=("recipe",))


def add_arguments(parser: Parser) -> None:
    """Declare the options; any other --part.field VALUE changes the configuration."""
    from blip.cli.recipe import add_list

    OPTIONS.declare(parser)
    add_list(parser, "pretrain")
    parser.classes = (PretrainConfig,)


def run(args: argparse.Namespace) -> int:
    """Pre-train."""
    from blip.cli.training import train_from_recipe

    options = OPTIONS.read(args)
    return train_from_recipe("pretrain", options.recipe, args.overrides, options.training)
