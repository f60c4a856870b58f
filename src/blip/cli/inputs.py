"""The pictures that are named on a command line, found and opened."""

import os
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from blip.installed import install

if TYPE_CHECKING:
    from blip.inference.pixels import Picture
    from blip.model.grounded import GroundedModel

HINTS = {"heic_needs_extra_heif": install("heif")}
"""What to do about a picture that cannot be used."""


def find_pictures(named: Iterable[Path]) -> list[Path]:
    """The pictures and videos that are named or lie below named folders, sorted there; each once.

    What a folder holds besides is counted on stderr. Raises UsageError for what does not exist, and
    for a folder without pictures, and for a video where PyAV is not installed.
    """
    from blip.data.annotations.video_files import find_videos
    from blip.data.readers.image_files import find_images, refuse_none, say_skipped
    from blip.data.readers.video_files import is_video_name
    from blip.errors import UsageError
    from blip.installed import need
    from blip.log import printable

    found: dict[str, Path] = {}
    for path in named:
        if path.is_dir():
            inside = find_images(path)
            # Without the extra they are skipped like other files that are no pictures.
            videos = list(find_videos(path)) if find_spec("av") else []
            for extension in {video.suffix.lower() for video in videos}:
                del inside.skipped[extension]
            if not videos:
                refuse_none(inside, path)
            say_skipped(inside, path)
            pictures = sorted([*inside.paths, *videos])
        elif os.path.lexists(path):
            pictures = [path]
        else:
            raise UsageError(f"no picture at {printable(path)}: no such file or folder")
        for picture in pictures:
            found.setdefault(os.path.abspath(picture), picture)
    if any(map(is_video_name, found)):
        need("av", "PyAV", "video")
    return list(found.values())


def refuse_videos(paths: Iterable[Path], reader: str) -> None:
    """Raise UsageError for a video, which `reader` does not take."""
    from blip.data.readers.video_files import is_video_name
    from blip.errors import UsageError
    from blip.log import printable

    for path in paths:
        if is_video_name(path):
            raise UsageError(f"{printable(path)} is a video; {reader} takes pictures alone")


def open_pictures(
    paths: Iterable[Path], max_pixels: int, frames: int, model: "GroundedModel"
) -> "list[tuple[Path, Picture]]":
    """The pictures and videos that can be read, with their paths; stderr names the others."""
    opened = [(path, open_picture(path, max_pixels, frames, model)) for path in paths]
    return [(path, image) for path, image in opened if image is not None]


def open_picture(
    path: Path, max_pixels: int, frames: int = 0, model: "GroundedModel | None" = None
) -> "Picture | None":
    """The picture, or None and a line on stderr that says why not.

    With a `model` of a video `frames` frames, squashed for the model at once: as large as they are
    they would take much memory. Raises UsageError for a video where PyAV is not installed.
    """
    from blip.data.faults import BadSampleError
    from blip.data.image_sources import read_image
    from blip.data.readers.video_files import is_video_name
    from blip.data.transforms import normalise
    from blip.data.videos.read import read_video
    from blip.inference.pixels import NormalisedImage
    from blip.log import printable, say

    try:
        if model is None or not is_video_name(path):
            return read_image(path, max_pixels)
        video = read_video(path, frames, max_pixels=max_pixels)
        return NormalisedImage(normalise(video.pixels(model.config.vision.image_size)))
    except BadSampleError as error:
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
