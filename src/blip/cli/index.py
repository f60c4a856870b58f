"""`blip index`: make an index of pictures and videos, add to it, and remove from it."""

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from blip.cli.from_dataclass import Options
from blip.cli.options import ModelOptions
from blip.config.ranges import BATCH_SIZE, FRAMES, PLACE, check_fields

EXAMPLES = """\
examples:
  blip index photos/ --out photos.index --checkpoint runs/filter
  blip index 'shards/{00000..00999}.tar' train.parquet --out big.index --checkpoint runs/filter
  blip index more-photos/ --out photos.index
  blip index holiday/ videos.parquet --out holiday.index --checkpoint runs/filter --frames 16
  blip index 'clips/*.tar' --out clips.index --checkpoint runs/filter
  blip index --out photos.index --remove more-photos/ --remove-keys 000001 000017
  blip search photos.index "a dog on a beach"

Takes what `blip data pack` takes, remote tars, and videos: in folders and tars, by their extension,
and in Parquet tables with a column `video`. Those of remote tars are read with --frames, or where
the index has videos. What cannot be read is counted, and DIR/faults.jsonl names it.
Places that are in the index and have not changed are skipped; if it is stopped, run the same
command again to resume. Needs FAISS: pip install 'blip-capfilt[index]', and for videos PyAV: pip
install 'blip-capfilt[video]'."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexOptions:
    """Options of `blip index`."""

    places: tuple[str, ...] = ()
    """Tars, tables, annotation files, folders of pictures and videos, globs, remote tars."""
    out: Path
    """Folder of the index, new or to be changed."""
    checkpoint: Annotated[str | None, PLACE] = None
    """Checkpoint or run folder that makes the vectors; an index that exists knows its own."""
    vectors: Literal["float32", "float16"] | None = None
    """Number format of stored vectors in a new index; float16 takes half the space."""
    frames: Annotated[int | None, FRAMES] = None
    """Evenly spaced frames that are read of each video: those of the index, else 8."""
    remove: tuple[str, ...] = ()
    """Places to remove from the index."""
    remove_keys: tuple[str, ...] = ()
    """Keys of single pictures and videos to remove from the index."""
    batch_size: Annotated[int, BATCH_SIZE] = 32
    """Pictures at a time, or frames."""
    model: ModelOptions = ModelOptions()
    json: bool = False
    """Print a JSON object."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_fields(self)


OPTIONS = Options(of=IndexOptions, arguments=("places",))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    OPTIONS.declare(parser)


def run(args: argparse.Namespace) -> int:
    """Remove, then add; 1 where a place could not be read, or no picture is in the index."""
    from blip.cli.rows import print_result
    from blip.errors import UsageError
    from blip.index.build import add_places, remove_from
    from blip.index.fill import Computing
    from blip.log import say

    options = OPTIONS.read(args)
    summary = None
    if not options.places and (options.remove or options.remove_keys):
        unused = ("checkpoint", "vectors", "frames", "batch_size")
        OPTIONS.refuse_unused(args, {"without places to add": unused})
    if options.remove or options.remove_keys:
        summary = remove_from(options.out, options.remove, options.remove_keys)
    if options.places:
        computing = Computing(
            device=options.model.device,
            precision=options.model.precision,
            batch_size=options.batch_size,
            max_pixels=options.model.max_pixels,
        )
        summary = add_places(
            options.out,
            options.places,
            options.checkpoint,
            vectors=options.vectors,
            frames=options.frames,
            computing=computing,
        )
    if summary is None:
        raise UsageError(
            "name places to add, or --remove or --remove-keys; see `blip index --help`"
        )
    what = "pictures" if summary.frames is None else "pictures and videos"
    print_result(
        {"out": str(options.out), **asdict(summary), "lost": len(summary.lost)},
        f"{summary.indexed} {what} of {summary.places} places in {options.out}",
        json=options.json,
    )
    if summary.broken:
        say(f"broken {what}: {summary.broken}; {options.out / 'faults.jsonl'} names them")
    if summary.lost:
        say(f"{len(summary.lost)} places could not be read; run the same command again to try them")
    may_be_empty = options.remove or options.remove_keys
    return 1 if summary.lost or not (summary.indexed or may_be_empty) else 0
