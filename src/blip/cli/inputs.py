"""The pictures that are named on a command line, found and opened."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from blip.installed import install

if TYPE_CHECKING:
    from PIL import Image

HINTS = {"heic_needs_extra_heif": install("heif")}
"""What to do about a picture that cannot be used."""


def find_pictures(named: Iterable[Path]) -> list[Path]:
    """The pictures that are named, and those below named folders in sorted order; each once.

    What a folder holds besides is counted on stderr. Raises UsageError for what does not exist, and
    for a folder without pictures.
    """
    from blip.data.readers.image_files import find_images, refuse_none, say_skipped
    from blip.errors import UsageError
    from blip.log import printable

    found: dict[str, Path] = {}
    for path in named:
        if path.is_dir():
            inside = find_images(path)
            refuse_none(inside, path)
            say_skipped(inside, path)
            pictures = inside.paths
        elif os.path.lexists(path):
            pictures = [path]
        else:
            raise UsageError(f"no picture at {printable(path)}: no such file or folder")
        for picture in pictures:
            found.setdefault(os.path.abspath(picture), picture)
    return list(found.values())


def open_pictures(paths: Iterable[Path], max_pixels: int) -> "list[tuple[Path, Image.Image]]":
    """The pictures that can be read, with their paths; stderr names the others."""
    opened = [(path, open_picture(path, max_pixels)) for path in paths]
    return [(path, image) for path, image in opened if image is not None]


def open_picture(path: Path, max_pixels: int) -> "Image.Image | None":
    """The picture, or None and a line on stderr that says why not."""
    from blip.data.image_sources import read_image
    from blip.data.images import BadImageError
    from blip.log import printable, say

    try:
        return read_image(path, max_pixels)
    except BadImageError as error:
        reason = str(error)
        hint = f" ({HINTS[reason]})" if reason in HINTS else ""
        say(f"cannot read {printable(path)}: {reason.replace('_', ' ')}{hint}")
    except OSError as error:
        say(f"cannot read {printable(path)}: {error.strerror or error}")
    return None


def report_broken(broken: int, pictures: int) -> int:
    """Say how many pictures could not be read; the exit status."""
    from blip.log import say

    if broken:
        say(f"{broken} of {pictures} pictures could not be read")
    return 1 if broken else 0
