"""Whether data are about videos: by the columns of a table, the names in a list, or the files."""

import re
from pathlib import Path

from blip.data.annotations.head import HEAD
from blip.data.annotations.video_files import TABLE, VIDEO, find_videos
from blip.data.annotations.videos import NAMES
from blip.data.readers.delimited import read_delimited
from blip.data.readers.image_files import find_images
from blip.data.readers.parquet import open_described
from blip.places import home_path

IMAGES = "images.parquet"
_NAMED = re.compile(rb'"(%s)"\s*:' % "|".join(sorted(NAMES)).encode())
"""A field that names a video; the words alone may be answers."""


def list_columns(data: str) -> list[str]:
    """The columns of a Parquet file; none for other data."""
    if not data.lower().endswith(".parquet"):
        return []
    return open_described(home_path(data)).schema_arrow.names


def shows_videos(data: str) -> bool:
    """Whether a folder, a table or an annotation file is about videos; a tar does not say it.

    Raises UsageError for a file that cannot be read.
    """
    path = home_path(data)
    if path.is_dir():
        return next(find_videos(path), None) is not None and not find_images(path).paths
    if columns := list_columns(data):
        return VIDEO in columns or ("question" in columns and _lies_beside_videos(path))
    if path.suffix.lower() in (".json", ".jsonl", ".ndjson"):
        return path.is_file() and _names_videos(path)
    if path.suffix.lower() in (".csv", ".tsv") and path.is_file():
        names, _ = read_delimited(path, lambda names: not NAMES.isdisjoint(names))
        return not NAMES.isdisjoint(names)
    return False


def _names_videos(path: Path) -> bool:
    with path.open("rb") as file:
        return _NAMED.search(file.read(HEAD)) is not None


def _lies_beside_videos(path: Path) -> bool:
    return path.with_name(TABLE).is_file() and not path.with_name(IMAGES).is_file()
