"""`blip caption`: captions for pictures and folders of pictures."""

import argparse
import os
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from blip.cli.inputs import find_pictures, open_picture, report_broken
from blip.cli.options import (
    Renamed,
    add_model_options,
    add_row_formats,
    batch_size,
    decoding_config,
    finite_float,
    input_path,
    int_or_zero,
    path_text,
    plain_text,
    positive_int,
    seed,
)
from blip.cli.rows import RowPrinter

if TYPE_CHECKING:
    from blip.generation.config import DecodingConfig
    from blip.inference.captioner import Caption

BEAMS = 3
RENAMED = (Renamed("--search", "--decode"),)
EXAMPLES = """\
examples:
  blip caption runs/demo/round-1/captioner picture.png
  blip caption runs/captioner photos/ --write txt
  blip caption runs/captioner photos/ --captions 3 --csv
  blip caption runs/captioner photos/*.jpg --decode nucleus --top-p 0.9 --seed 7 --json
  blip caption runs/captioner photo.jpg --prompt "a picture of " --keep-prompt

Prints PATH, a tab and the caption; with --captions a line for each. With --write the captions go
into a text file beside each picture (photo.jpg, photo.txt), a line each, as trainers of image
generators read them. --json and --csv add how likely the model finds a caption: the sum of the
log-probabilities of its tokens, and their mean."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "checkpoint", type=path_text, metavar="CKPT", help="checkpoint or run folder"
    )
    parser.add_argument("pictures", nargs="+", metavar="IMAGE|FOLDER", type=input_path)
    parser.add_argument(
        "--captions", type=positive_int, default=1, metavar="N", help="for each picture (1)"
    )
    parser.add_argument(
        "--write", choices=("txt", "caption"), help="a file with this extension beside each picture"
    )
    parser.add_argument(
        "--write-name",
        choices=("stem", "full"),
        default="stem",
        help="with --write: photo.txt, or photo.jpg.txt where two pictures would share it (stem)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="with --write: replace files that are there"
    )
    _add_decoding(parser)
    parser.add_argument(
        "--batch-size", type=batch_size, default=16, metavar="N", help="pictures at a time (16)"
    )
    add_model_options(parser)
    add_row_formats(parser)


def _add_decoding(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--decode",
        choices=("beam", "greedy", "nucleus"),
        default="beam",
        help="how a caption is chosen, token by token (beam)",
    )
    parser.add_argument(
        "--beams",
        type=positive_int,
        metavar="N",
        help="beam: hypotheses, as many as captions at least (3)",
    )
    parser.add_argument(
        "--top-p",
        type=finite_float,
        default=0.9,
        metavar="P",
        help="nucleus: probability mass drawn from (0.9)",
    )
    parser.add_argument(
        "--min-length",
        type=int_or_zero,
        default=5,
        metavar="N",
        help="fewest tokens, start and prompt included (5)",
    )
    parser.add_argument(
        "--max-length", type=positive_int, default=30, metavar="N", help="most tokens (30)"
    )
    parser.add_argument(
        "--repetition-penalty",
        type=finite_float,
        default=1.0,
        metavar="P",
        help="divides scores of repeated tokens (1, none)",
    )
    parser.add_argument(
        "--prompt",
        type=plain_text,
        default="",
        metavar="TEXT",
        help="start of every caption; it is not printed or written",
    )
    parser.add_argument(
        "--keep-prompt", action="store_true", help="print and write captions with their prompt"
    )
    parser.add_argument(
        "--seed", type=seed, default=0, metavar="N", help="seed of nucleus sampling (0)"
    )


def run(args: argparse.Namespace) -> int:
    """Caption; 1 where a picture was broken or a caption could not be written."""
    from blip.inference.captioner import Captioner
    from blip.log import progress

    decoding = _decoding(args)
    paths = find_pictures(args.pictures)
    texts = _TextFiles(args, paths) if args.write else None
    if texts is not None:
        paths = texts.missing()
    captioner = Captioner.load(args.checkpoint, args.device, precision=args.precision)
    rows = RowPrinter.of(json=args.json, csv=args.csv)
    # Plain lines tell no likelihoods, which cost another pass over each text.
    write = captioner.captions if rows.form == "text" else captioner.scored_captions
    # Decoding that the model cannot do is refused before the bar is drawn.
    write([], args.captions, decoding)
    broken = 0
    with progress(len(paths), "caption", "pictures") as bar:
        for start in range(0, len(paths), args.batch_size):
            batch = paths[start : start + args.batch_size]
            opened = [(path, open_picture(path, args.max_pixels)) for path in batch]
            sound = [(path, image) for path, image in opened if image is not None]
            broken += len(opened) - len(sound)
            found = write(
                [image for _, image in sound],
                args.captions,
                decoding,
                seeds=[_seeds(args.seed, path, args.captions) for path, _ in sound],
                batch_size=args.batch_size,
                keep_prompt=args.keep_prompt,
            )
            for (path, _), captions in zip(sound, found, strict=True):
                if texts is not None:
                    texts.write(path, captions)
                _print(rows, path, captions)
            bar.advance(len(batch))
    status = report_broken(broken, len(paths))
    return 1 if texts is not None and texts.failed else status


class _TextFiles:
    """The file of captions beside each picture."""

    def __init__(self, args: argparse.Namespace, paths: Sequence[Path]) -> None:
        """Raises UsageError, which names both, where two pictures would share a file."""
        self.overwrite = args.overwrite
        self.failed = 0
        self.of: dict[Path, Path] = {}
        for path in paths:
            full = args.write_name == "full"
            name = path.name if full else path.stem
            self.of[path] = path.with_name(f"{name}.{args.write}")
        self._refuse_pictures()
        if args.write_name == "stem":
            self._refuse_shared()

    def _refuse_pictures(self) -> None:
        """A picture may be called `photo.txt`: it is not to be replaced by its own caption."""
        from blip.errors import UsageError
        from blip.log import printable

        pictures = {_place(path) for path in self.of}
        for path, target in self.of.items():
            if _place(target) in pictures:
                raise UsageError(
                    f"the captions of {printable(path)} would replace the picture "
                    f"{printable(target)}; --write-name full gives them a file of their own"
                )

    def _refuse_shared(self) -> None:
        from blip.errors import UsageError
        from blip.log import printable

        first: dict[tuple[str, str], Path] = {}
        for path, target in self.of.items():
            other = first.setdefault(_place(target), path)
            if other is not path:
                raise UsageError(
                    f"{printable(other)} and {printable(path)} would share the file "
                    f"{printable(target.name)}; --write-name full gives each its own "
                    f"({printable(path.name)}{target.suffix})"
                )

    def missing(self) -> list[Path]:
        """The pictures whose file is to be written."""
        from blip.log import say

        if self.overwrite:
            return list(self.of)
        paths = [path for path, target in self.of.items() if not os.path.lexists(target)]
        kept = len(self.of) - len(paths)
        if kept:
            say(
                f"{kept} pictures have a text file already, which is kept (--overwrite replaces it)"
            )
        return paths

    def write(self, path: Path, captions: Iterable["Caption | str"]) -> None:
        """Write the captions of a picture; a file that cannot be written is named and counted.

        Raises OSError where the disk is full: there is no room for the others, either.
        """
        from blip.files import disk_is_full, write_atomically
        from blip.log import printable, say

        try:
            write_atomically(self.of[path], "".join(f"{_text(one)}\n" for one in captions))
        except OSError as error:
            if disk_is_full(error):
                raise
            self.failed += 1
            say(f"cannot write {printable(self.of[path])}: {error.strerror}")


def _place(path: Path) -> tuple[str, str]:
    """Folder and name; some file systems take names for one that differ in case or in accents."""
    name = unicodedata.normalize("NFC", path.name).casefold()
    return os.path.realpath(path.parent), name


def _decoding(args: argparse.Namespace) -> "DecodingConfig":
    from blip.errors import UsageError
    from blip.generation.config import check_captions

    least = args.captions if args.decode == "beam" else 1
    beams = max(BEAMS, least) if args.beams is None else args.beams
    if args.decode == "greedy" and args.captions > 1:
        raise UsageError(
            f"--captions {args.captions} needs --decode beam or nucleus; greedy decoding writes one"
        )
    if least > beams:
        raise UsageError(f"--beams must be at least --captions ({args.captions}), got {beams}")
    decoding = decoding_config(
        kind=args.decode,
        beams=beams,
        top_p=args.top_p,
        min_length=args.min_length,
        max_length=args.max_length,
        repetition_penalty=args.repetition_penalty,
        prompt=args.prompt,
    )
    check_captions(args.captions, decoding)
    return decoding


def _seeds(seed: int, path: Path, count: int) -> list[int]:
    """Made of the picture's name, so that other pictures of the command do not change a caption."""
    import hashlib

    texts = [f"{seed}/{path.name}", *(f"{seed}/{path.name}/{n}" for n in range(1, count))]
    digests = [hashlib.sha256(text.encode("utf-8", "surrogateescape")) for text in texts]
    return [int.from_bytes(digest.digest()[:7], "big") for digest in digests]


def _text(caption: "Caption | str") -> str:
    return caption if isinstance(caption, str) else caption.text


def _print(rows: RowPrinter, path: Path, captions: Iterable["Caption | str"]) -> None:
    from blip.log import printable

    for number, caption in enumerate(captions, 1):
        row: dict[str, str | int | float] = {"path": str(path), "number": number}
        row["caption"] = _text(caption)
        if not isinstance(caption, str):
            row["log_likelihood"] = caption.log_likelihood
            row["log_likelihood_per_token"] = caption.log_likelihood_per_token
            row["tokens"] = caption.tokens
        rows.print(row, f"{printable(path)}\t{_text(caption)}")
