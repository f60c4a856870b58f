"""Finds the pictures that an annotation file means: below a folder, or in a Parquet table."""

import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeVar, final

import pyarrow as pa
import pyarrow.parquet as pq

from blip.data.annotations.content_store import ContentStore, StoredContent
from blip.data.annotations.named_files import NamedFiles, find_key
from blip.data.keys import key_text
from blip.data.readers.folders import extension_of, read_file
from blip.data.readers.image_files import find_images
from blip.data.readers.parquet import bytes_in, group_bounds, open_parquet, read_group, read_parquet
from blip.data.readers.tables import KEYS, find_columns, has_pictures
from blip.errors import UsageError

MEMORY = 32 << 20
"""Bytes of a table's pictures that stay in memory; with more, all lie in a temporary file."""
ROWS = 4
"""Rows of pictures that are read together."""
Kept = TypeVar("Kept", Path, int)
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
    """Rows of a Parquet table with a key or a number and the picture's bytes.

    The keys are read first, the pictures of a group of rows when the first of them is asked for: a
    single row of it cannot be read. They stay in a `ContentStore`, so that in any order of reading
    no group is decoded twice, and few pictures are in memory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._store = ContentStore("pictures", MEMORY)
        self._of_group: dict[int, dict[int, StoredContent]] = {}

    def read(self, name: str | int) -> tuple[bytes | None, str]:
        """Bytes of a picture and its extension; None where there is no such picture.

        Raises BlipError if the disk has no room for those of its group.
        """
        key = find_key(str(name), self._rows, with_folders=self._with_folders)
        row = _of_number(name, self._numbered) if key is None else self._rows[key]
        kept = None if row is None else self._pictures(self._layout.group_of(row)).get(row)
        content = None if kept is None else kept.read()
        return content, extension_of(content or b"")

    @cached_property
    def _file(self) -> pq.ParquetFile:
        return open_parquet(self.path)

    @cached_property
    def _layout(self) -> "_Layout":
        return _Layout.of(self._file)

    @cached_property
    def _rows(self) -> dict[str, int]:
        """The row of each key, the first one with a picture."""
        found: dict[str, int] = {}
        layout = self._layout
        for number, row in read_parquet(self.path, 0, None, columns=layout.keys):
            group = layout.group_of(number)
            # Which rows of the others hold a picture is known only once they are read.
            if layout.full[group] or number in self._pictures(group):
                keys = (key_text(row.cells.get(name)) for name in layout.keys)
                for key in keys:
                    if key is not None:
                        found.setdefault(key, number)
        return found

    def _pictures(self, group: int) -> dict[int, StoredContent]:
        """The pictures of a group by their rows."""
        if group not in self._of_group:
            first, stop = self._layout.bounds[group : group + 2]
            image, found = str(self._layout.image), dict[int, StoredContent]()
            rows = read_group(self._file, group, stop - first, ROWS, [image])
            for number, row in enumerate(rows, first):
                content = bytes_in(row.cells.get(image))
                if content is not None:
                    found[number] = self._store.add(content)
            # A page may hold a thousand pictures, and Arrow would keep its memory for the next one.
            pa.default_memory_pool().release_unused()
            self._of_group[group] = found
        return self._of_group[group]

    @cached_property
    def _with_folders(self) -> bool:
        return any("/" in key for key in self._rows)

    @cached_property
    def _numbered(self) -> dict[int, int | None]:
        return _by_number(self._rows.items())


@dataclass(frozen=True, slots=True)
class _Layout:
    """How the rows of a table of pictures lie in its file."""

    keys: tuple[str, ...]
    """Columns that may name a picture."""
    image: str | None
    bounds: tuple[int, ...]
    """The first row of each group, and the number of all."""
    full: tuple[bool, ...]
    """Whether each row of a group is known to hold a picture."""

    @classmethod
    def of(cls, file: pq.ParquetFile) -> "_Layout":
        """The layout of an open table."""
        names, metadata = file.schema_arrow.names, file.metadata
        image = find_columns(names).image
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        return cls(
            keys=tuple(name for name in KEYS if name in names),
            image=image,
            bounds=group_bounds(file),
            full=tuple(_is_full(group, image) for group in groups),
        )

    def group_of(self, row: int) -> int:
        """The group of rows that holds a row."""
        return bisect_right(self.bounds, row) - 1


def _is_full(group: pq.RowGroupMetaData, image: str | None) -> bool:
    """Whether the statistics of a group say that no row lacks the bytes of its picture."""
    columns = [group.column(number) for number in range(group.num_columns)]
    content = [one for one in columns if one.path_in_schema in (image, f"{image}.bytes")]
    statistics = [one.statistics for one in content if one.is_stats_set]
    return len(statistics) == 1 and statistics[0].has_null_count and not statistics[0].null_count


def _by_number(named: Iterable[tuple[str, Kept]]) -> dict[int, Kept | None]:
    """What is kept under the number at the end of each name; None for a number of two."""
    by_number: dict[int, Kept | None] = {}
    for name, kept in named:
        if number := _LAST_NUMBER.search(name):
            known = by_number.setdefault(int(number[1]), kept)
            if known != kept:
                by_number[int(number[1])] = None
    return by_number


def _of_number(name: str | int, by_number: dict[int, Kept | None]) -> Kept | None:
    return by_number.get(int(name)) if str(name).isdecimal() else None
