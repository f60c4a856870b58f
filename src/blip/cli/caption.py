"""`blip caption`: captions for pictures and folders of pictures."""

import argparse
import os
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from blip.cli.from_dataclass import Options
from blip.cli.inputs import Place, find_pictures, open_pictures, report_broken
from blip.cli.options import (
    DECODING_GROUP,
    DECODING_HIDDEN,
    DECODING_NAMES,
    EITHER_ROWS,
    PictureOptions,
    Renamed,
)
from blip.cli.rows import RowPrinter
from blip.config.ranges import PLACE, SEED, Range, check_fields
from blip.generation.config import MAX_CAPTIONS, DecodingConfig

if TYPE_CHECKING:
    from blip.inference.captioner import Caption

RENAMED = (Renamed("--search", "--decode"),)
EXAMPLES = """\
examples:
  blip caption runs/demo/round-1/captioner picture.png
  blip caption runs/captioner photos/ --write txt
  blip caption runs/captioner photos/ --captions 3 --csv
  blip caption runs/captioner photos/*.jpg --decode nucleus --top-p 0.9 --seed 7 --json
  blip caption runs/captioner clip.mp4 --frames 16
  blip caption runs/captioner https://example.org/photo.jpg
  find photos -name '*.jpg' -print0 | blip caption runs/captioner - --json
  blip caption runs/captioner photo.jpg --prompt "a picture of " --keep-prompt

Takes videos, too, by their extension: a caption is written from the states of all frames.
Prints PATH, a tab and the caption; with --captions a line for each. With --write the captions go
into a text file beside each picture (photo.jpg, photo.txt), a line each, as trainers of image
generators read them. --json and --csv add how likely the model finds a caption: the sum of the
log-probabilities of its tokens, and their mean."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionOptions:
    """What `blip caption` is asked to do."""

    checkpoint: Annotated[str, PLACE]
    """Checkpoint or run folder."""
    pictures: Annotated[tuple[str, ...], PLACE]
    """Pictures, folders of them, URLs, and - for names on stdin."""
    captions: Annotated[int, Range(whole=True, least=1, most=MAX_CAPTIONS)] = 1
    """Captions of each picture."""
    write: Literal["txt", "caption"] | None = None
    """Write a file with this extension beside each picture."""
    write_name: Literal["stem", "full"] = "stem"
    """With --write: photo.txt (stem), or photo.jpg.txt (full) where two pictures would share it."""
    overwrite: bool = False
    """With --write: replace files that are there."""
    decoding: DecodingConfig = DecodingConfig(max_length=30)
    keep_prompt: bool = False
    """Print and write captions with their prompt."""
    seed: Annotated[int, SEED] = 0
    """Seed of nucleus sampling."""
    shared: PictureOptions = PictureOptions()

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        check_fields(self)


OPTIONS = Options(
    of=CaptionOptions,
    arguments=("checkpoint", "pictures"),
    names=DECODING_NAMES,
    groups=DECODING_GROUP,
    hidden=DECODING_HIDDEN,
    either=EITHER_ROWS,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    OPTIONS.declare(parser)


def run(args: argparse.Namespace) -> int:
    """Caption; 1 where a picture was broken or a caption could not be written."""
    with OPTIONS.naming(args):
        options = OPTIONS.read(args)
        decoding = _decoding(options, beams_are_typed="decoding.beams" in OPTIONS.typed(args))
        return _caption(options, decoding)


def _caption(options: CaptionOptions, decoding: DecodingConfig) -> int:
    from blip.inference.captioner import Captioner
    from blip.log import progress

    paths = find_pictures(options.pictures, stdin=True)
    texts = _TextFiles(options, paths) if options.write else None
    if texts is not None:
        paths = texts.missing()
    captioner = Captioner.load(
        options.checkpoint, options.shared.model.device, precision=options.shared.model.precision
    )
    rows = RowPrinter.of(json=options.shared.rows.json, csv=options.shared.rows.csv)
    # Plain lines show no likelihoods, which cost another pass over each text.
    write = captioner.captions if rows.form == "text" else captioner.scored_captions
    # Decoding that the model cannot do is refused before the bar is drawn.
    write([], options.captions, decoding)
    broken = 0
    with progress(len(paths), "caption", "pictures") as bar:
        for start in range(0, len(paths), options.shared.batch_size):
            batch = paths[start : start + options.shared.batch_size]
            sound = open_pictures(
                batch, options.shared.model.max_pixels, options.shared.frames, captioner.model
            )
            broken += len(batch) - len(sound)
            written = write(
                [image for _, image in sound],
                options.captions,
                decoding,
                seeds=[_seeds(options.seed, path, options.captions) for path, _ in sound],
                batch_size=options.shared.batch_size,
                keep_prompt=options.keep_prompt,
            )
            for (path, _), captions in zip(sound, written, strict=True):
                if texts is not None:
                    texts.write(path, captions)
                _print(rows, path, captions)
            bar.advance(len(batch))
    status = report_broken(broken, len(paths))
    return 1 if texts is not None and texts.failed else status


class _TextFiles:
    """The file of captions beside each picture."""

    def __init__(self, options: CaptionOptions, paths: Sequence[Place]) -> None:
        """Raises UsageError, which names both, where two pictures would share a file.

        And for the address of a picture, beside which no file can be written.
        """
        from blip.errors import UsageError
        from blip.log import printable

        self.overwrite = options.overwrite
        self.failed = 0
        self.of: dict[Place, Path] = {}
        for path in paths:
            if isinstance(path, str):
                raise UsageError(
                    f"--write puts a file beside each picture, and {printable(path)} is an address"
                )
            full = options.write_name == "full"
            name = path.name if full else path.stem
            self.of[path] = path.with_name(f"{name}.{options.write}")
        self._refuse_pictures()
        if options.write_name == "stem":
            self._refuse_shared()

    def _refuse_pictures(self) -> None:
        """A picture may be called `photo.txt`: it is not to be replaced by its own caption."""
        from blip.errors import UsageError
        from blip.log import printable

        pictures = {_place(path) for path in self.of if isinstance(path, Path)}
        for path, target in self.of.items():
            if _place(target) in pictures:
                raise UsageError(
                    f"the captions of {printable(path)} would replace the picture "
                    f"{printable(target)}; --write-name full gives them a file of their own"
                )

    def _refuse_shared(self) -> None:
        from blip.errors import UsageError
        from blip.log import printable

        first: dict[tuple[str, str], Place] = {}
        for path, target in self.of.items():
            other = first.setdefault(_place(target), path)
            if other is not path:
                raise UsageError(
                    f"{printable(other)} and {printable(path)} would share the file "
                    f"{printable(target.name)}; --write-name full gives each its own "
                    f"({printable(Path(path).name)}{target.suffix})"
                )

    def missing(self) -> list[Place]:
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

    def write(self, path: Place, captions: Iterable["Caption | str"]) -> None:
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


def _decoding(options: CaptionOptions, *, beams_are_typed: bool) -> DecodingConfig:
    """How captions are written; beams that were not typed are as many as captions at least."""
    from blip.errors import UsageError
    from blip.generation.config import check_captions

    captions, decoding = options.captions, options.decoding
    if decoding.kind == "greedy" and captions > 1:
        raise UsageError(
            f"--captions {captions} needs --decode beam or nucleus; greedy decoding writes one"
        )
    if decoding.kind == "beam" and captions > decoding.beams:
        if beams_are_typed:
            raise UsageError(
                f"--beams must be at least --captions ({captions}), got {decoding.beams}"
            )
        decoding = replace(decoding, beams=captions)
    check_captions(captions, decoding)
    return decoding


def _seeds(seed: int, path: Place, count: int) -> list[int]:
    """Made of the picture's name, so that other pictures of the command do not change a caption."""
    import hashlib

    name = path if isinstance(path, str) else path.name
    texts = [f"{seed}/{name}", *(f"{seed}/{name}/{n}" for n in range(1, count))]
    digests = [hashlib.sha256(text.encode("utf-8", "surrogateescape")) for text in texts]
    return [int.from_bytes(digest.digest()[:7], "big") for digest in digests]


def _text(caption: "Caption | str") -> str:
    return caption if isinstance(caption, str) else caption.text


def _print(rows: RowPrinter, path: Place, captions: Iterable["Caption | str"]) -> None:
    from blip.log import printable

    for number, caption in enumerate(captions, 1):
        row: dict[str, str | int | float] = {"path": str(path), "number": number}
        row["caption"] = _text(caption)
        if not isinstance(caption, str):
            row["log_likelihood"] = caption.log_likelihood
            row["log_likelihood_per_token"] = caption.log_likelihood_per_token
            row["tokens"] = caption.tokens
        rows.print(row, f"{printable(path)}\t{_text(caption)}")
