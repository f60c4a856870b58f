"""`blip finetune`: a model for one task from a pre-trained model."""

import argparse
from dataclasses import dataclass

from blip.cli.from_dataclass import Options
from blip.cli.parser import Parser
from blip.cli.training import ABOUT_RESUMING, TrainingOptions
from blip.tasks.table import TASKS

EXAMPLES = f"""\
examples:
  blip finetune captioner coco --init runs/base --out runs/captioner
  blip finetune filter coco --init runs/base --out runs/filter --data.batch_size 128
  blip finetune retrieval flickr30k --init runs/base --out runs/flickr30k
  blip finetune caption flickr8k --init runs/base --out runs/mine --data.sources.0.shards my/shards
  blip finetune vqa vqa_v2 --init runs/base_129m --out runs/vqa
  blip finetune nlvr nlvr2 --init runs/base --out runs/nlvr
  blip finetune visdial visdial --init runs/base_129m --out runs/visdial
  blip finetune captioner coco_large --out runs/captioner_large
  blip finetune filter runs/demo/round-1/filter/config.json --out runs/again
  blip finetune --list
  blip finetune captioner coco --keys

A captioner writes (LM); `caption` is another name of this task. A filter matches (ITC and ITM) and
is a retrieval model as well; `retrieval` is its other name. `blip capfilt` cleans data with both.
The task vqa makes a model that answers questions, nlvr one that judges statements about two images,
visdial one that ranks the answers to a question in a dialogue.

{ABOUT_RESUMING}"""


@dataclass(frozen=True, kw_only=True, slots=True)
class FinetuneOptions:
    """What `blip finetune` is asked to do, beside the keys of its configuration."""

    kind: str
    """What the model becomes."""
    recipe: str
    """A recipe (--list shows them) or a config.json."""
    training: TrainingOptions = TrainingOptions()


KINDS = tuple(task for task in TASKS if task.verb == "finetune")
OPTIONS = Options(
    of=FinetuneOptions,
    arguments=("kind", "recipe"),
    choices={"kind": tuple(name for task in KINDS for name in task.names)},
)


def add_arguments(parser: Parser) -> None:
    """Declare the options; any other --part.field VALUE changes the configuration."""
    from blip.cli.recipe import add_list

    OPTIONS.declare(parser)
    add_list(parser, *(task.name for task in KINDS))
    parser.classes = tuple(task.config for task in KINDS)


def run(args: argparse.Namespace) -> int:
    """Fine-tune."""
    from blip.cli.training import train_from_recipe

    options = OPTIONS.read(args)
    return train_from_recipe(options.kind, options.recipe, args.overrides, options.training)
