"""Finds the pictures that an annotation file means: below a folder, or in a Parquet table."""

import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeVar, final

from blip.data.annotations.named_files import NamedFiles, find_key
from blip.data.keys import key_text
from blip.data.readers.folders import extension_of, read_file
from blip.data.readers.image_files import find_images
from blip.data.readers.parquet import read_parquet
from blip.data.readers.tables import KEYS, find_columns, has_pictures
from blip.errors import UsageError

Kept = TypeVar("Kept", Path, bytes)
_LAST_NUMBER = re.compile(r"(\d+)\D*$")


class Pictures(Protocol):
    """Pictures by the name or the number that an annotation file gives them."""

    def read(self, name: str | int) -> tuple[bytes | None, str]:
        """Bytes of a picture and its extension; None where there is no such picture."""
        ...


def open_pictures(annotations: Path, images: Path | None = None) -> Pictures:
    """The pictures of an annotation file: below `images`, or in that table.

    Without `images` they are in the Parquet table beside the file, `NAME_images.parquet` where the
    file's name starts with `NAME_`, else `images.parquet`; without such a table below the file's
    own folder. Raises UsageError for a table without pictures.
    """
    place = images or _table_beside(annotations) or annotations.parent
    if place.suffix.lower() == ".parquet":
        if not has_pictures(place):
            raise UsageError(f"{place} is no table with a column for the image")
        return TablePictures(place)
    return FolderPictures(place)


def _table_beside(annotations: Path) -> Path | None:
    parts = annotations.stem.split("_")
    names = ["_".join([*parts[:length], "images"]) for length in range(len(parts), 0, -1)]
    paths = (annotations.with_name(f"{name}.parquet") for name in [*names, "images"])
    return next((path for path in paths if path.is_file()), None)


@final
class FolderPictures:
    """Files below a folder, by name (`NamedFiles`), or by the number at the end of the name.

    The number 42 finds `COCO_val2014_000000000042.jpg`, or `42.jpg`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, name: str | int) -> tuple[bytes | None, str]:
        """Bytes of a picture and its extension; None where there is no such picture."""
        if isinstance(name, str):
            content, extension = read_file(self.folder / name)
            if content is not None:
                return content, extension
        path = self._named.find(str(name))
        if path is None:
            path = _of_number(name, self._numbered)
        return (None, "jpg") if path is None else read_file(path)

    @cached_property
    def _paths(self) -> list[Path]:
        return find_images(self.folder).paths

    @cached_property
    def _named(self) -> NamedFiles:
        return NamedFiles(self.folder, self._paths)

    @cached_property
    def _numbered(self) -> dict[int, Path | None]:
        return _by_number((path.stem, path) for path in self._paths)


@final
class TablePictures:
    """Rows of a Parquet table with a key or a number and the picture's bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, name: str | int) -> tuple[bytes | None, str]:
        """Bytes of a picture and its extension; None where there is no such picture."""
        known, with_folders = self._contents, self._with_folders
        key = find_key(str(name), known, with_folders=with_folders)
        content = _of_number(name, self._numbered) if key is None else known[key]
        return content, extension_of(content or b"")

    @cached_property
    def _contents(self) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for _, row in read_parquet(self.path, 0, None):
            columns = find_columns(list(row.cells))
            picture = row.cells.get(str(columns.image))
            content = picture.get("bytes") if isinstance(picture, dict) else picture
            keys = (key_text(row.cells.get(name)) for name in KEYS)
            if isinstance(content, bytes):
                for key in keys:
                    if key is not None:
                        found.setdefault(key, content)
        return found

    @cached_property
    def _with_folders(self) -> bool:
        return any("/" in key for key in self._contents)

    @cached_property
    def _numbered(self) -> dict[int, bytes | None]:
        return _by_number(self._contents.items())


def _by_number(named: Iterable[tuple[str, Kept]]) -> dict[int, Kept | None]:
    """What is kept under the number at the end of each name; None for a number of two."""
    by_number: dict[int, Kept | None] = {}
    for name, kept in named:
        if number := _LAST_NUMBER.search(name):
            known = by_number.setdefault(int(number[1]), kept)
            if known is not kept:
                by_number[int(number[1])] = None
    return by_number


def _of_number(name: str | int, by_number: dict[int, Kept | None]) -> Kept | None:
    return by_number.get(int(name)) if str(name).isdecimal() else None
