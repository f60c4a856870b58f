"""`blip match`: how well texts match pictures."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from blip.cli.inputs import find_pictures, open_picture, report_broken
from blip.cli.options import (
    add_model_options,
    add_row_formats,
    batch_size,
    input_path,
    path_text,
    plain_text,
)
from blip.cli.rows import RowPrinter

if TYPE_CHECKING:
    from blip.inference.matcher import Scores

EXAMPLES = """\
examples:
  blip match runs/demo/round-1/filter picture.png "a red circle" "two blue stars"
  blip match runs/filter photo.jpg "a dog on a beach" --json
  blip match runs/filter photos/ "a dog on a beach" "a cat" --csv
  blip match runs/filter a.jpg b.jpg photos/ --texts "a dog on a beach" "a cat"

Prints the probability of a match (ITM), the cosine of the features (ITC) and the text; of several
pictures the path comes first, with tabs between."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "checkpoint", type=path_text, metavar="CKPT", help="checkpoint or run folder"
    )
    parser.add_argument(
        "picture", metavar="IMAGE", type=input_path, help="a picture or a folder of them"
    )
    parser.add_argument(
        "more", nargs="*", metavar="TEXT", help="texts; with --texts these are pictures, too"
    )
    parser.add_argument(
        "--texts",
        nargs="+",
        action="extend",
        type=plain_text,
        metavar="TEXT",
        help="the texts, where there are several pictures",
    )
    parser.add_argument(
        "--batch-size", type=batch_size, default=16, metavar="N", help="pictures at a time (16)"
    )
    add_model_options(parser)
    add_row_formats(parser)


def run(args: argparse.Namespace) -> int:
    """Score; 1 where a picture is broken."""
    from blip.inference.matcher import Matcher, refuse_not_finite
    from blip.log import printable

    texts, named = _texts_and_pictures(args)
    paths = find_pictures(named)
    single = args.texts is None and not args.picture.is_dir()
    matcher = Matcher.load(args.checkpoint, args.device, precision=args.precision)
    rows = RowPrinter.of(json=args.json, csv=args.csv)
    broken = 0
    for start in range(0, len(paths), args.batch_size):
        batch = paths[start : start + args.batch_size]
        opened = [(path, open_picture(path, args.max_pixels)) for path in batch]
        sound = [(path, image) for path, image in opened if image is not None]
        broken += len(opened) - len(sound)
        found = matcher.scores(
            [image for _, image in sound],
            [texts] * len(sound),
            batch_size=args.batch_size,
            allow_nan=True,
        )
        for (path, _), scores in zip(sound, found, strict=True):
            refuse_not_finite(printable(path), scores)
            _print(rows, path, texts, scores, single=single)
    if single:
        return 1 if broken else 0
    return report_broken(broken, len(paths))


def _texts_and_pictures(args: argparse.Namespace) -> tuple[list[str], list[Path]]:
    """Raises UsageError where there are no texts, and where one cannot be read."""
    from blip.errors import UsageError

    if args.texts is not None:
        return args.texts, [args.picture, *map(Path, args.more)]
    if not args.more:
        raise UsageError("the following arguments are required: TEXT; see `blip match --help`")
    from blip.data.readers.image_files import is_image_name
    from blip.log import printable, say

    for text in args.more:
        if is_image_name(text) and os.path.isfile(text):
            say(
                f"{printable(text)} is scored as a text; with --texts, all other names are pictures"
            )
    try:
        return [plain_text(text) for text in args.more], [args.picture]
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"argument TEXT: {error}") from error


def _print(
    rows: RowPrinter, path: Path, texts: Sequence[str], scores: Sequence["Scores"], *, single: bool
) -> None:
    from blip.log import printable

    for text, score in zip(texts, scores, strict=True):
        row = {"path": str(path), "text": text, **score._asdict()}
        if single:
            line = f"{score.probability:.3f}  {score.cosine:+.3f}  {text}"
        else:
            line = f"{printable(path)}\t{score.probability:.3f}\t{score.cosine:+.3f}\t{text}"
        rows.print(row, line)
