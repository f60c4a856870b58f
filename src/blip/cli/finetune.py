"""`blip finetune`: a captioner or a filter from a pre-trained model."""

import argparse

from blip.cli.training import ABOUT_RESUMING

TAKES_OVERRIDES = True
EXAMPLES = f"""\
examples:
  blip finetune captioner coco --init runs/base --out runs/captioner
  blip finetune filter coco --init runs/base --out runs/filter --data.batch_size 128
  blip finetune captioner coco_large --out runs/captioner_large
  blip finetune filter runs/demo/round-1/filter/config.json --out runs/again
  blip finetune --list
  blip finetune captioner coco --keys

A captioner writes (LM), a filter matches (ITC and ITM) and is a retrieval model as well; `blip
capfilt` cleans data with the two.

{ABOUT_RESUMING}"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options; any other --part.field VALUE changes the configuration."""
    from blip.cli.recipe import add_recipe_options, recipe_names
    from blip.cli.training import add_run_arguments
    from blip.tasks.table import TASKS

    kinds = [task.name for task in TASKS if task.verb == "finetune"]
    names = "; ".join(f"{kind}: {', '.join(recipe_names(kind))}" for kind in kinds)
    parser.add_argument("kind", choices=kinds, help="what the model is to become")
    parser.add_argument("recipe", metavar="RECIPE|config.json", help=names)
    add_run_arguments(parser)
    add_recipe_options(parser, *kinds)


def run(args: argparse.Namespace) -> int:
    """Fine-tune."""
    from blip.cli.training import train_from_recipe

    return train_from_recipe(args.kind, args)
