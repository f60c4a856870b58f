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

    names = "; ".join(f"{kind}: {', '.join(recipe_names(kind))}" for kind in _KINDS)
    parser.add_argument("kind", choices=_KINDS, help="what the model is to become")
    parser.add_argument("recipe", metavar="RECIPE|config.json", help=names)
    add_run_arguments(parser)
    add_recipe_options(parser, *_KINDS)


def run(args: argparse.Namespace) -> int:
    """Fine-tune."""
    from blip.cli.recipe import read_config
    from blip.cli.training import is_finished, print_checkpoint, read_options
    from blip.config.override import describe
    from blip.tasks.config import CaptionerConfig, FilterConfig

    cls = CaptionerConfig if args.kind == "captioner" else FilterConfig
    config = read_config(cls, args.kind, args.recipe, args.overrides)
    if args.keys:
        print(describe(config))
        return 0
    options = read_options(args)
    if not is_finished(config, args.out):
        from blip import dist

        with dist.processes(config.train.device):
            match config:
                case CaptionerConfig():
                    from blip.tasks import caption

                    caption.train(config, args.out, options)
                case FilterConfig():
                    from blip.tasks import retrieval

                    retrieval.train(config, args.out, options)
    print_checkpoint(args.out)
    return 0


_KINDS = ("captioner", "filter")
"""Each with recipes in the module of that name in `blip.recipes`."""
