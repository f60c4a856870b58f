"""`blip finetune`: a model for one task from a pre-trained model."""

import argparse
from dataclasses import dataclass, is_dataclass
from functools import partial

from blip.cli.from_dataclass import Options
from blip.cli.parser import Parser
from blip.cli.training import ABOUT_RESUMING, TrainingOptions
from blip.config.fields import field_docstrings, fields_of, find_kinds
from blip.tasks.table import TASKS, TrainingTask

EXAMPLES = """\
examples:
  blip finetune captioner coco --init runs/base --out runs/captioner
  blip finetune vqa vqa_v2 --init runs/base_129m --out runs/vqa
  blip finetune vqa --help
  blip finetune --list

"""
EXAMPLES_OF = {
    "captioner": (
        "captioner coco --init runs/base --out runs/captioner",
        "caption flickr8k --init runs/base --out runs/mine --data.sources.0.shards my/shards",
        "captioner coco_large --out runs/captioner_large",
    ),
    "filter": (
        "filter coco --init runs/base --out runs/filter --data.batch_size 128",
        "retrieval flickr30k --init runs/base --out runs/flickr30k",
        "filter runs/demo/round-1/filter/config.json --out runs/again",
    ),
    "vqa": (
        "vqa vqa_v2 --init runs/base_129m --out runs/vqa",
        "vqa vqa_v2 --init runs/base --out runs/mine --data.sources shards/mine",
        "vqa scenes --out runs/vqa",
    ),
    "nlvr": (
        "nlvr nlvr2 --init runs/base --out runs/nlvr",
        "nlvr nlvr2 --init runs/base --out runs/fast --data.batch_size 32 --train.steps 10000",
        "nlvr scenes --out runs/nlvr",
    ),
    "visdial": (
        "visdial visdial --init runs/base_129m --out runs/visdial",
        "visdial visdial_written --init runs/base_129m --out runs/writes",
        "visdial scenes --out runs/visdial",
    ),
}
"""Of `blip finetune`, for each task."""
ABOUT = {
    "captioner": "`caption` is another name of this task. `blip capfilt` cleans data with a "
    "captioner and a filter.",
    "filter": "`retrieval` is another name of this task: a filter is a retrieval model as well. "
    "`blip capfilt` cleans data with a captioner and a filter.",
}
MAIN_KEYS = (
    *("init", "data.sources", "data.batch_size", "data.image.size", "data.max_tokens"),
    *("train.steps", "train.optimizer.lr", "train.evaluate_every", "validation.shards"),
)
"""Of every task, in `--help`; with them come those that the task alone has."""
COMMON = ("init", "data", "train", "validation", "language", "contrastive")


@dataclass(frozen=True, kw_only=True, slots=True)
class FinetuneOptions:
    """Options of `blip finetune`, beside the keys of its configuration."""

    kind: str
    """What the model becomes."""
    recipe: str
    """A recipe (--list shows them) or a config.json."""
    training: TrainingOptions = TrainingOptions()


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskOptions:
    """What `blip finetune TASK` is asked to do, for the help of a task."""

    recipe: str
    """A recipe or a config.json."""
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
    names = {", ".join(task.names): task.objectives for task in KINDS}
    width = max(map(len, names)) + 2
    tasks = [f"  {name:<{width}}{objectives}" for name, objectives in names.items()]
    parser.epilog = (
        f"{EXAMPLES}tasks:\n"
        + "\n".join(tasks)
        + "\n\n`blip finetune TASK --help` shows the options, recipes and examples of a task.\n\n"
        + ABOUT_RESUMING
    )
    parser.topics = {name: partial(make_task_parser, task) for task in KINDS for name in task.names}


def make_task_parser(task: TrainingTask) -> Parser:
    """The parser of a task, for its help: options, recipes, keys of its configuration, examples."""
    from blip.cli.recipe import list_recipes

    about = [ABOUT[task.name], ""] if task.name in ABOUT else []
    own = dict.fromkeys(item.key.partition(".")[0] for item in fields_of(task.config))
    listed = [*MAIN_KEYS, *(name for name in own if name not in COMMON)]
    keys = {f"--{key}": _meaning(task, key) for key in listed if find_kinds(task.config, key)}
    width = max(map(len, keys)) + 2
    lines = [
        *("recipes:", list_recipes(task.name), ""),
        f"keys of the configuration (`blip finetune {task.name} RECIPE --keys` lists all):",
        *(f"  {key:<{width}}{meaning}".rstrip() for key, meaning in keys.items()),
        *("", "examples:", *(f"  blip finetune {line}" for line in _examples(task)), ""),
        *about,
        "If a run is stopped or killed, run the same command again to resume it; `blip finetune "
        "--help`\nsays more about this.",
    ]
    parser = Parser(
        prog=f"blip finetune {task.name}",
        description=f"fine-tune by {task.objectives}",
        epilog="\n".join(lines),
    )
    Options(of=TaskOptions, arguments=("recipe",)).declare(parser)
    return parser


def _examples(task: TrainingTask) -> tuple[str, ...]:
    plain = f"{task.name} RECIPE --init runs/base --out runs/{task.name}"
    return EXAMPLES_OF.get(task.name, (plain,))


def _meaning(task: TrainingTask, key: str) -> str:
    """The first sentence about a key of the task's configuration."""
    part, _, name = key.rpartition(".")
    kinds = find_kinds(task.config, part) if part else (task.config,)
    owner = next(kind for kind in kinds if is_dataclass(kind) and isinstance(kind, type))
    meaning = task.meanings.get(key) or field_docstrings(owner).get(name, "")
    return meaning.partition(". ")[0].removesuffix(".")


def run(args: argparse.Namespace) -> int:
    """Fine-tune."""
    from blip.cli.training import train_from_recipe

    options = OPTIONS.read(args)
    return train_from_recipe(options.kind, options.recipe, args.overrides, options.training)
