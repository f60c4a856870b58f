"""`blip compare`: which statements about two pictures are true."""

import argparse
import os
from dataclasses import dataclass
from typing import Annotated

from blip.cli.from_dataclass import Options
from blip.cli.inputs import find_pictures, open_picture, refuse_videos
from blip.cli.options import ModelOptions
from blip.cli.rows import print_json
from blip.config.ranges import BATCH_SIZE, PLACE, UTF8, check_fields

EXAMPLES = """\
examples:
  blip compare runs/nlvr left.jpg right.jpg "both images show a dog"
  blip compare original:model_base_nlvr a.png b.png "there are two cats in all" "no cat" --json

Prints each statement, the probability that it is true of the two pictures, and true or false, with
tabs between. Needs a model for pairs of images, as `blip finetune nlvr` makes it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CompareOptions:
    """Options of `blip compare`."""

    checkpoint: Annotated[str, PLACE]
    """Checkpoint or run folder of a model for pairs of images."""
    left: Annotated[str, PLACE]
    """The left picture, or its URL."""
    right: Annotated[str, PLACE]
    """The right picture, or its URL."""
    statements: Annotated[tuple[str, ...], UTF8]
    """Statements about them."""
    batch_size: Annotated[int, BATCH_SIZE] = 16
    """Statements at a time."""
    model: ModelOptions = ModelOptions()
    json: bool = False
    """Print a JSON object a line."""

    def __post_init__(self) -> None:
        """Refuse numbers and texts that cannot work."""
        check_fields(self)


OPTIONS = Options(
    of=CompareOptions,
    arguments=("checkpoint", "left", "right", "statements"),
    names={"left": "LEFT", "right": "RIGHT"},
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    OPTIONS.declare(parser)


def run(args: argparse.Namespace) -> int:
    """Judge; 1 where a picture is broken."""
    from blip.data.statements import clean_statement
    from blip.errors import UsageError

    options = OPTIONS.read(args)
    for number, statement in enumerate(options.statements, 1):
        if not clean_statement(statement):
            raise UsageError(f"statement {number} is {statement!r}; it has no words")
    refuse_videos((options.left, options.right), "`blip compare`")
    for path in (options.left, options.right):
        if os.path.isdir(path):
            raise UsageError(f"{path} is a folder; `blip compare` takes two pictures")
    paths = [find_pictures([path])[0] for path in (options.left, options.right)]
    # Not before the arguments have been found sound: it loads PyTorch.
    from blip.inference.comparer import Comparer

    comparer = Comparer.load(
        options.checkpoint, options.model.device, precision=options.model.precision
    )
    left, right = (open_picture(path, options.model.max_pixels) for path in paths)
    if left is None or right is None:
        return 1
    statements = list(options.statements)
    (judged,) = comparer.judge([left], [right], [statements], batch_size=options.batch_size)
    for statement, (is_true, probability) in zip(statements, judged, strict=True):
        if options.json:
            row = {"statement": statement, "is_true": is_true, "probability": probability}
            print_json(row)
        else:
            print(f"{statement}\t{probability:.3f}\t{str(is_true).lower()}")
    return 0
