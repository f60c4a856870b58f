"""Picture files on disk: which names they have, which a folder holds, and how one is opened."""

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from blip.data.readers.video_files import is_video_name
from blip.data.readers.walk import walk_folders
from blip.errors import UsageError
from blip.files import read_regular
from blip.installed import need
from blip.log import say

IMAGE_EXTENSIONS = (
    *("jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp", "tif", "tiff", "avif"),
    *("heic", "heif"),
)
"""How the names of pictures end, everywhere: in folders, in shards, in tables."""
ONE_EXTENSION = {"jpeg": "jpg", "jpe": "jpg", "jfif": "jpg", "tiff": "tif", "heif": "heic"}
"""What is written in place of the second names of a format."""
TEXT_EXTENSIONS = ("txt", "caption", "json")
"""How the names of texts end that lie beside a picture."""
IMAGE_LIMIT = 256 << 20
"""Largest image file that is read, in bytes."""
NAMED = 5
"""Extensions of skipped files that a message names."""


def is_image_name(name: str) -> bool:
    """Whether a file of this name is taken for a picture."""
    return os.path.splitext(name)[1][1:].lower() in IMAGE_EXTENSIONS


def read_image_file(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a regular file.

    Pipes, sockets and devices may never end and are not opened. Raises OSError for them, for a
    missing file, and for one of more than `IMAGE_LIMIT` bytes.
    """
    return read_regular(path, IMAGE_LIMIT)


@dataclass(slots=True)
class FoundImages:
    """The pictures below a folder, and what else lies there."""

    paths: list[Path] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    """Files that are not pictures, by extension; texts that belong to a picture do not count."""
    hidden: int = 0
    """Files and folders whose names start with a dot; such folders are not opened."""
    unreadable: list[str] = field(default_factory=list)
    """Folders that could not be read, each with the reason."""

    def describe_skipped(self) -> str:
        """What was left out, in words; empty where nothing was."""
        parts: list[str] = []
        if self.skipped:
            most = self.skipped.most_common(NAMED)
            counts = ", ".join(f"{name or 'no extension'} {count}" for name, count in most)
            more = ", ..." if len(self.skipped) > NAMED else ""
            count = self.skipped.total()
            kind = "file that is not a picture" if count == 1 else "files that are not pictures"
            parts.append(f"{count} {kind} ({counts}{more})")
        if self.hidden:
            parts.append(f"{self.hidden} hidden")
        parts += [f"folder {folder}" for folder in self.unreadable]
        return ", ".join(parts)


def find_images(folder: Path) -> FoundImages:
    """All pictures below a folder, in sorted order.

    Linked folders are followed (`walk_folders`). A broken link and a pipe called `x.jpg` are
    listed: opening them reports what is wrong.
    """
    found = FoundImages()
    for entries in walk_folders(folder, found.unreadable):
        _sort(entries, found)
    found.paths.sort()
    return found


def _sort(entries: list[os.DirEntry[str]], found: FoundImages) -> None:
    """Put what lies in one folder where it belongs."""
    others: list[str] = []
    stems: set[str] = set()
    for entry in entries:
        if entry.name.startswith("."):
            found.hidden += 1
        elif is_image_name(entry.name):
            found.paths.append(Path(entry.path))
            stems |= {entry.name, os.path.splitext(entry.name)[0]}
        else:
            others.append(entry.name)
    for name in others:
        stem, extension = os.path.splitext(name)
        if extension[1:].lower() not in TEXT_EXTENSIONS or stem not in stems:
            found.skipped[extension.lower()] += 1


def list_images(folder: Path) -> list[Path]:
    """The pictures below a folder, as `find_images` finds them; raises UsageError for none."""
    images = find_images(folder)
    refuse_none(images, folder, takes_videos=False)
    return images.paths


def say_skipped(found: FoundImages, folder: Path) -> None:
    """Say what a folder holds besides its pictures, if it holds anything else."""
    skipped = found.describe_skipped()
    if skipped:
        say(f"{folder}: skipped {skipped}")


def say_skipped_below(places: Iterable[Path]) -> None:
    """Say what the folders of pictures among these hold besides."""
    for place in dict.fromkeys(places):
        if place.is_dir():
            say_skipped(find_images(place), place)


def refuse_none(found: FoundImages, folder: Path, *, takes_videos: bool = True) -> None:
    """Raise UsageError where a folder holds no pictures; it says what is there instead.

    Of a caller that takes videos as well it says that PyAV is missing, where that keeps them out.
    """
    if not found.paths:
        skipped = found.describe_skipped()
        videos = any(is_video_name(f"a{extension}") for extension in found.skipped)
        if videos and takes_videos:
            need("av", "PyAV", "video")
        raise UsageError(
            f"{folder} holds no pictures ({', '.join(IMAGE_EXTENSIONS)})"
            + (f"; skipped: {skipped}" if skipped else "")
            + ("; this takes no videos" if videos and not takes_videos else "")
        )
