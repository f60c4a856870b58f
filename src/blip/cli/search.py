"""`blip search`: pictures and videos of an index by a text or a picture, and near-duplicates."""

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from blip.cli.from_dataclass import Options
from blip.cli.inputs import Place
from blip.cli.options import ModelOptions
from blip.config.ranges import COUNT, COUNT_OR_NONE, PLACE, UTF8, Range, check_fields

if TYPE_CHECKING:
    from blip.index.duplicates import Group
    from blip.index.search import Hit, Index
    from blip.index.store import Row

EXAMPLES = """\
examples:
  blip search photos.index "a dog on a beach"
  blip search photos.index "a dog on a beach" --results 50 --json
  blip search photos.index --image photo.jpg --html like-photo.html
  blip search photos.index --image https://example.org/photo.jpg
  blip search photos.index --duplicates --threshold 0.97

The verb `index` makes an index. Pictures are found by cosine (ITC); of a text, the model reads the
best ones again and orders them by the probability of a match (ITM), unless --rerank is 0. Videos
of the index are found as pictures are; of each, the model reads some frames."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchOptions:
    """Options of `blip search`."""

    index: Path
    """Folder of an index."""
    query: Annotated[str, UTF8] = ""
    """What the pictures show."""
    image: Annotated[str | None, PLACE] = None
    """Find pictures like this one, like a video, or like the picture at a URL."""
    duplicates: bool = False
    """Find groups of pictures that are nearly the same."""
    threshold: Annotated[float, Range(above=-1, most=1)] = 0.95
    """Least cosine of near-duplicates."""
    results: Annotated[int, COUNT] = 10
    """Pictures, or groups of duplicates, to show."""
    rerank: Annotated[int, COUNT_OR_NONE] = 20
    """Best pictures of a text that ITM orders; 0 leaves the order by cosine."""
    checkpoint: Annotated[str | None, PLACE] = None
    """Checkpoint or run folder that makes the vectors; an index that exists knows its own."""
    json: bool = False
    """Print a JSON object a line."""
    html: Path | None = None
    """Write a page with thumbnails to this file; - is stdout."""
    overwrite: bool = False
    """Replace an existing page."""
    model: ModelOptions = ModelOptions()

    def __post_init__(self) -> None:
        """Refuse numbers and texts that cannot work."""
        check_fields(self)


STDOUT = Path("-")
"""In place of the page's file."""
OPTIONS = Options(
    of=SearchOptions,
    arguments=("index", "query"),
    names={"index": "DIR", "query": "TEXT"},
    either=("json", "html"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    OPTIONS.declare(parser)


def run(args: argparse.Namespace) -> int:
    """Search and print; 1 where nothing is found."""
    from blip.errors import UsageError
    from blip.index.store import Store
    from blip.outputs import refuse_folder

    options = OPTIONS.read(args)
    asked = [bool(options.query.strip()), options.image is not None, options.duplicates]
    if sum(asked) != 1:
        raise UsageError("give a text, --image or --duplicates, and one of them only")
    _refuse_unused(args, options)
    if options.html is not None and options.html != STDOUT:
        refuse_folder(options.html, "--html")
    image = None if options.image is None else _find_picture(options.image)
    # Refuses what is no index, before PyTorch is loaded.
    Store.open(options.index)
    from blip.index.search import Index

    index = Index.open(
        options.index,
        options.checkpoint,
        device=options.model.device,
        precision=options.model.precision,
        max_pixels=options.model.max_pixels,
    )
    if options.duplicates:
        groups = index.duplicates(options.threshold)[: options.results]
        _show_groups(groups, options, index)
        return 0
    hits = _search(index, options, image)
    _show_hits(hits, options, index)
    return 0 if hits else 1


def _refuse_unused(args: argparse.Namespace, options: SearchOptions) -> None:
    """Raise UsageError for a typed option that this kind of search ignores."""
    unused: dict[str, tuple[str, ...]] = {}
    if not options.duplicates:
        unused["without --duplicates"] = ("threshold",)
    if options.html is None:
        unused["without --html"] = ("overwrite",)
    if options.duplicates or options.image is not None:
        unused["without a text"] = ("rerank",)
    OPTIONS.refuse_unused(args, unused)


def _find_picture(name: str) -> Place:
    from blip.cli.inputs import find_pictures
    from blip.errors import UsageError

    if os.path.isdir(name):
        raise UsageError(f"{name} is a folder; --image takes one picture")
    (found,) = find_pictures([name])
    return found


def _search(index: "Index", options: SearchOptions, image: Place | None) -> "list[Hit]":
    from blip.cli.inputs import open_picture
    from blip.errors import BlipError

    if image is None:
        return index.search(options.query, options.results, rerank=options.rerank)
    from blip.data.videos.read import FRAMES

    model = index.embedder.model
    frames = index.settings.frames or FRAMES
    picture = open_picture(image, options.model.max_pixels, frames, model.config.vision.image_size)
    if picture is None:
        raise BlipError(f"--image {options.image} cannot be read")
    return index.search_image(picture, options.results)


def _show_hits(hits: "list[Hit]", options: SearchOptions, index: "Index") -> None:
    rows = [
        {
            "rank": rank,
            **_describe(hit.row),
            "cosine": round(hit.cosine, 6),
            "probability": None if hit.probability is None else round(hit.probability, 6),
        }
        for rank, hit in enumerate(hits, 1)
    ]
    if options.json:
        _print_lines(rows)
    elif options.html is not None:
        from blip.index.page import draw_hits
        from blip.pages.pictures import THUMBNAIL

        asked = options.query or f"like {options.image}"
        pictures = index.pictures([hit.row for hit in hits], side=THUMBNAIL)
        _write_page(draw_hits(asked, hits, pictures), options)
    else:
        columns = ("rank", "match", "cosine", "key", "place", "texts")
        cells = [
            (
                str(row["rank"]),
                "" if row["probability"] is None else f"{row['probability']:.3f}",
                f"{row['cosine']:+.3f}",
                row["key"],
                row["place"],
                " | ".join(row["texts"]),
            )
            for row in rows
        ]
        _print_table(columns, cells, "no picture found")


def _show_groups(groups: "list[Group]", options: SearchOptions, index: "Index") -> None:
    described = [
        [{**_describe(member.row), "cosine": round(member.cosine, 6)} for member in group]
        for group in groups
    ]
    if options.json:
        _print_lines({"group": n, "pictures": rows} for n, rows in enumerate(described, 1))
    elif options.html is not None:
        from blip.index.page import draw_groups
        from blip.index.search import rows_of
        from blip.pages.pictures import THUMBNAIL

        pictures = index.pictures(rows_of(groups), side=THUMBNAIL)
        _write_page(draw_groups(options.threshold, groups, pictures), options)
    else:
        cells = [
            (str(number), f"{row['cosine']:+.3f}", row["key"], row["place"])
            for number, rows in enumerate(described, 1)
            for row in rows
        ]
        _print_table(("group", "cosine", "key", "place"), cells, "no near-duplicates")


def _describe(row: "Row") -> dict[str, Any]:
    return {
        "key": row.key,
        "image_key": row.image_key,
        "place": row.place,
        "number": row.number,
        "texts": list(row.texts),
    }


def _print_lines(rows: Iterable[dict[str, Any]]) -> None:
    from blip.cli.rows import print_json

    for row in rows:
        print_json(row)


def _print_table(columns: Sequence[str], cells: Sequence[Sequence[str]], nothing: str) -> None:
    """A table as wide as the terminal; into a file, rows of any length."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from blip.log import printable, say

    if not cells:
        say(nothing)
        return
    table = Table(*columns, box=None, pad_edge=False)
    for row in cells:
        # As texts: what data holds is no markup.
        table.add_row(*(Text(printable(cell), overflow="fold") for cell in row))
    console = Console() if sys.stdout.isatty() else Console(width=10_000)
    console.print(table)


def _write_page(page: str, options: SearchOptions) -> None:
    from blip.files import write_atomically
    from blip.outputs import check_unchanged

    if options.html == STDOUT:
        print(page)
    elif options.html is not None:
        check_unchanged(options.html, page, overwrite=options.overwrite, option="--html")
        write_atomically(options.html, page)
        print(options.html)
