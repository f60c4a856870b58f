"""The pictures that are named on a command line, found and opened."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from blip.installed import install

if TYPE_CHECKING:
    from blip.inference.pixels import Picture

Place = Path | str
"""Where a picture is: a file, or an address as text."""
STDIN = "-"
"""Stands for the names on stdin."""
HINTS = {"heic_needs_extra_heif": install("heif")}
"""What to do about a picture that cannot be used."""


def is_address(name: str) -> bool:
    """Whether a picture is named by its address, such as https://..., and not by its path."""
    return "://" in name


def find_pictures(named: Iterable[str], *, stdin: bool = False) -> list[Place]:
    """The pictures and videos that are named or lie below named folders, sorted there; each once.

    With `stdin` the word - stands for the names on stdin, of which folders may be empty and files
    missing, and addresses wrong: `open_picture` reports those. What a folder holds besides is
    counted on stderr. Raises UsageError for what does not exist, for a folder without pictures, for
    a video where PyAV is not installed, and for an address that `check_address` refuses.
    """
    from blip.data.readers.remote import check_address
    from blip.errors import UsageError
    from blip.installed import need
    from blip.log import printable

    found: dict[str, Place] = {}
    for name in named:
        if name == STDIN and stdin:
            places = _find_listed(read_names())
        elif is_address(name):
            check_address(name)
            places = [name]
        elif os.path.lexists(name):
            places = _find_below(name)
        else:
            raise UsageError(f"no picture at {printable(name)}: no such file or folder")
        for place in places:
            key = place if isinstance(place, str) else os.path.abspath(place)
            found.setdefault(key, place)
    if holds_video(found.values()):
        need("av", "PyAV", "video")
    return list(found.values())


def holds_video(places: Iterable[Place]) -> bool:
    """Whether there is a video among the files; an address stands for a picture."""
    from blip.data.readers.video_files import is_video_name

    return any(isinstance(place, Path) and is_video_name(place) for place in places)


def read_names() -> list[str]:
    """The names of files on stdin, each followed by a NUL byte or else by a line break.

    Raises UsageError if there are none, and for a picture itself.
    """
    from blip.data.readers.folders import is_picture
    from blip.errors import UsageError
    from blip.log import say

    if sys.stdin.isatty():
        say("reading names of pictures from the terminal, a line each; Ctrl-D ends them")
    content = sys.stdin.buffer.read()
    if is_picture(content):
        raise UsageError("stdin holds a picture; it takes the names of pictures, and their URLs")
    has_nul = b"\0" in content
    lines = content.split(b"\0") if has_nul else content.splitlines()
    names = [os.fsdecode(line) for line in lines if line.strip()]
    if not names:
        raise UsageError("stdin names no picture; allowed: names with NUL bytes or line breaks")
    return names


def _find_listed(names: Iterable[str]) -> list[Place]:
    """What a program such as `find` lists: what has gone meanwhile is reported when it is read."""
    return [place for name in names for place in _find_below(name, may_be_empty=True)]


def _find_below(name: str, *, may_be_empty: bool = False) -> list[Place]:
    """An address, a file, or the pictures and videos below a folder."""
    from blip.data.annotations.video_files import find_videos
    from blip.data.readers.image_files import find_images, refuse_none, say_skipped

    if is_address(name):
        return [name]
    path = Path(name)
    if not path.is_dir():
        return [path]
    inside = find_images(path)
    # Without the extra they are skipped like other files that are no pictures.
    videos = find_videos(path) if find_spec("av") else []
    for extension in {video.suffix.lower() for video in videos}:
        del inside.skipped[extension]
    if not videos and not may_be_empty:
        refuse_none(inside, path)
    if not may_be_empty:
        say_skipped(inside, path)
    return sorted([*inside.paths, *videos])


def refuse_videos(paths: Iterable[str], reader: str) -> None:
    """Raise UsageError for a video, which `reader` does not take."""
    from blip.data.readers.video_files import is_video_name
    from blip.errors import UsageError
    from blip.log import printable

    for path in paths:
        if is_video_name(path):
            raise UsageError(f"{printable(path)} is a video; {reader} takes pictures alone")


def batches_of(places: Sequence[Place], batch_size: int, frames: int) -> Iterator[Sequence[Place]]:
    """The places in turn, as many at a time as hold `batch_size` pictures or frames of videos."""
    start = 0
    while start < len(places):
        size = batch_size
        if holds_video(places[start : start + size]):
            size = max(1, batch_size // frames)
        yield places[start : start + size]
        start += size


def open_pictures(
    paths: Sequence[Place], max_pixels: int, frames: int, image_size: int
) -> "list[tuple[Place, Picture]]":
    """The pictures and videos that can be read, with their paths; stderr names the others."""
    from blip.inference.pixels import map_pictures

    def open_one(path: Place) -> "Picture | None":
        return open_picture(path, max_pixels, frames, image_size)

    opened = zip(paths, map_pictures(open_one, paths, paths), strict=True)
    return [(path, image) for path, image in opened if image is not None]


def open_picture(
    path: Place, max_pixels: int, frames: int = 0, image_size: int | None = None
) -> "Picture | None":
    """The picture, or None and a line on stderr that says why not.

    With an `image_size` of a video `frames` frames, squashed to it at once: as large as they are
    they would take much memory. Raises UsageError for a video where PyAV is not installed.
    """
    from blip.data.faults import BadSampleError
    from blip.data.image_sources import NOT_FETCHED, read_image
    from blip.data.readers.remote import check_address
    from blip.data.readers.video_files import is_video_name
    from blip.data.transforms import normalise
    from blip.data.videos.read import read_video
    from blip.errors import UsageError
    from blip.inference.pixels import NormalisedImage
    from blip.log import say
    from blip.threads import is_left

    try:
        if isinstance(path, str):
            check_address(path)
    except UsageError as error:
        say(str(error))
        return None
    try:
        if image_size is None or isinstance(path, str) or not is_video_name(path):
            return read_image(path, max_pixels)
        video = read_video(path, frames, max_pixels=max_pixels)
        return NormalisedImage(normalise(video.pixels(image_size)))
    except BadSampleError as error:
        reason = str(error)
        # After Ctrl-C the command says that it was stopped, last.
        if is_left():
            return None
        if reason.startswith(NOT_FETCHED):
            say(f"cannot fetch {path}: {reason.removeprefix(NOT_FETCHED)}")
            return None
        hint = f" ({HINTS[reason]})" if reason in HINTS else ""
        say(f"cannot read {path}: {error.in_words}{hint}")
    except OSError as error:
        say(f"cannot read {path}: {error.strerror or error}")
    return None


def report_broken(broken: int, pictures: int) -> int:
    """Say how many pictures could not be read; the exit status."""
    from blip.log import say

    if broken:
        say(f"{broken} of {pictures} pictures could not be read")
    return 1 if broken else 0
