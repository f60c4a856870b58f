"""`blip match`: how well texts match pictures."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from blip.cli.backends import Backend, uses_onnx
from blip.cli.from_dataclass import Options
from blip.cli.inputs import (
    STDIN,
    Place,
    batches_of,
    find_pictures,
    holds_video,
    open_pictures,
    report_broken,
)
from blip.cli.options import EITHER_ROWS, NO_VIDEO, PictureOptions
from blip.cli.rows import RowPrinter
from blip.config.ranges import PLACE, UTF8, RangeError, check_fields
from blip.generation.config import CompileChoice

if TYPE_CHECKING:
    from blip.inference.matcher import Scores, TextMatcher

EXAMPLES = """\
examples:
  blip match runs/demo/round-1/filter picture.png "a red circle" "two blue stars"
  blip match runs/filter photo.jpg "a dog on a beach" --json
  blip match runs/filter photos/ "a dog on a beach" "a cat" --csv
  find photos -name '*.jpg' -print0 | blip match runs/filter - "a dog on a beach" --json
  blip match runs/filter-onnx photo.jpg "a dog on a beach" --backend onnx
  blip match runs/filter clip.mp4 "a dog runs on a beach" --frames 4
  blip match runs/filter a.jpg b.jpg photos/ --texts "a dog on a beach" "a cat"

Prints the probability of a match (ITM), the cosine of the features (ITC) and the text; of several
pictures the path comes first, with tabs between."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MatchOptions:
    """Options of `blip match`."""

    checkpoint: Annotated[str, PLACE]
    """Checkpoint or run folder."""
    picture: Annotated[str, PLACE]
    """A picture, a folder of them, a URL, or - for names on stdin."""
    more: tuple[str, ...] = ()
    """Texts; with --texts these are pictures, too."""
    texts: Annotated[tuple[str, ...], UTF8] = ()
    """The texts, where there are several pictures."""
    compile: CompileChoice = "auto"
    """Passes of the model: on has torch compile them, and on a GPU captures them as CUDA graphs,
    which takes minutes and pays for many pictures; off does not compile, and auto is off
    for now. Scores are the same but for rounding."""
    backend: Backend = "auto"
    """What computes: torch, or onnxruntime (onnx) for a folder of `convert --to onnx`; auto
    goes by what CKPT is."""
    shared: PictureOptions = PictureOptions()

    def __post_init__(self) -> None:
        """Refuse numbers and texts that cannot work."""
        check_fields(self)


OPTIONS = Options(
    of=MatchOptions,
    arguments=("checkpoint", "picture", "more"),
    either=EITHER_ROWS,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    OPTIONS.declare(parser)


def run(args: argparse.Namespace) -> int:
    """Score; 1 where a picture is broken."""
    from blip.log import printable

    options = OPTIONS.read(args)
    texts, named = _texts_and_pictures(options)
    paths = find_pictures(named, stdin=True)
    if not holds_video(paths):
        OPTIONS.refuse_unused(args, NO_VIDEO)
    several = options.picture == STDIN or os.path.isdir(options.picture)
    single = not options.texts and not several
    matcher = _load(args, options)
    # Not before the arguments have been found sound: it loads PyTorch.
    from blip.inference.matcher import refuse_not_finite

    rows = RowPrinter.of(json=options.shared.rows.json, csv=options.shared.rows.csv)
    broken = 0
    for batch in batches_of(paths, options.shared.batch_size, options.shared.frames):
        sound = open_pictures(
            batch,
            options.shared.model.max_pixels,
            options.shared.frames,
            matcher.config.vision.image_size,
        )
        broken += len(batch) - len(sound)
        scored = matcher.scores(
            [image for _, image in sound],
            [texts] * len(sound),
            batch_size=options.shared.batch_size,
            allow_nan=True,
        )
        for (path, _), scores in zip(sound, scored, strict=True):
            refuse_not_finite(printable(path), scores)
            _print(rows, path, texts, scores, single=single)
    if single:
        return 1 if broken else 0
    return report_broken(broken, len(paths))


def _load(args: argparse.Namespace, options: MatchOptions) -> "TextMatcher":
    model = options.shared.model
    if uses_onnx(options.backend, options.checkpoint, model, OPTIONS, args):
        from blip.export.matcher import OnnxMatcher

        return OnnxMatcher.load(options.checkpoint)
    from blip.inference.matcher import Matcher

    matcher = Matcher.load(options.checkpoint, model.device, precision=model.precision)
    matcher.compile(options.compile)
    return matcher


def _texts_and_pictures(options: MatchOptions) -> tuple[list[str], list[str]]:
    """Raises UsageError if there are no texts, and if one cannot be read or has no words."""
    from blip.data.captions import check_words
    from blip.errors import UsageError

    for text in options.texts or options.more:
        if UTF8.holds(text):
            check_words("TEXT", text)
    if options.texts:
        return list(options.texts), [options.picture, *options.more]
    if not options.more:
        raise UsageError("the following arguments are required: TEXT; see `blip match --help`")
    from blip.data.readers.image_files import is_image_name
    from blip.data.readers.video_files import is_video_name
    from blip.log import printable, say

    for text in options.more:
        if (is_image_name(text) or is_video_name(text)) and os.path.isfile(text):
            say(f"{printable(text)} is scored as a text; with --texts, all other names are files")
        if not UTF8.holds(text):
            raise RangeError("TEXT", repr(text), str(UTF8))
    return list(options.more), [options.picture]


def _print(
    rows: RowPrinter, path: Place, texts: Sequence[str], scores: Sequence["Scores"], *, single: bool
) -> None:
    from blip.log import printable

    for text, score in zip(texts, scores, strict=True):
        row = {"path": str(path), "text": text, **score._asdict()}
        if single:
            line = f"match {score.probability:.3f}  cosine {score.cosine:+.3f}  {text}"
        else:
            line = f"{printable(path)}\t{score.probability:.3f}\t{score.cosine:+.3f}\t{text}"
        rows.print(row, line)
