"""Places that hold videos: lists and tables of them, tars, and folders, also among pictures."""

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import final

from blip.data.annotations.video_files import (
    ROWS,
    TEXTS,
    VIDEO,
    content_of,
    find_videos,
    has_videos,
    key_of,
)
from blip.data.annotations.videos import MISSING_VIDEO, lists_videos
from blip.data.keys import storable, with_safe_keys
from blip.data.readers.chosen import read_alone
from blip.data.readers.delimited import Row
from blip.data.readers.folders import read_paths, read_paths_at
from blip.data.readers.headers import Member, read_headers
from blip.data.readers.image_files import find_images, refuse_none
from blip.data.readers.open import Reader, find_kind, open_place
from blip.data.readers.parquet import open_described, read_parquet, read_parquet_at
from blip.data.readers.patterns import compressed_in, named_in, tars_in
from blip.data.readers.remote import is_remote
from blip.data.readers.sources import find_places
from blip.data.readers.tables import find_columns, has_pictures
from blip.data.readers.video_files import is_video_name
from blip.data.sample import IMAGE_KEY, Sample
from blip.data.texts import sound_texts
from blip.errors import UsageError
from blip.files import open_regular
from blip.log import printable
from blip.places import home_path

FIRST = 100
"""Files of a tar among which its first video must be."""


def find_any(patterns: Sequence[str]) -> list[str]:
    """As `find_places`, but folders without tars stand for their tables of videos as well.

    Where a folder has no table of pictures either, it stands for the videos below it, whatever
    other tables say of these.
    """
    places: dict[str, str] = {}
    for pattern in patterns:
        plain = pattern.removeprefix("file://")
        folder = Path(os.path.abspath(home_path(plain)))
        found = [] if is_remote(plain) else _in_folder(folder)
        for place in found or find_places([pattern]):
            places.setdefault(place if is_remote(place) else os.path.realpath(place), place)
    return list(places.values())


def videos_in(path: Path) -> list[Path]:
    """What a place stands for where videos alone are read: of a folder its tars or its tables."""
    if not path.is_dir():
        return [path]
    return [Path(place) for place in find_any([str(path)]) if shows_videos(place)] or [path]


def find_only_videos(pattern: str) -> list[Path]:
    """The places that a pattern stands for if all hold videos, and their folders no pictures.

    Raises UsageError if it names nothing.
    """
    places = [Path(place) for place in find_any([pattern]) if not is_remote(place)]
    return places if all(map(holds_only_videos, places)) else []


def are_only_videos(pattern: str) -> bool:
    """Whether a pattern stands for videos alone; not where it is remote, or names nothing known."""
    # What names nothing, or nothing known, its reader refuses, which may know more.
    with suppress(UsageError):
        return not is_remote(pattern) and bool(find_only_videos(pattern))
    return False


def refuse_only_videos(patterns: Iterable[str]) -> None:
    """Raises UsageError for a pattern that stands for videos alone; it names what measures them."""
    for pattern in patterns:
        if are_only_videos(pattern):
            raise UsageError(
                f"{printable(pattern)} holds videos; allowed with --task video_retrieval (their "
                "texts) or --task video_qa (questions about them)"
            )


def holds_only_videos(path: Path) -> bool:
    """Whether a place holds videos, and a folder no pictures beside them."""
    if path.is_dir():
        return shows_videos(str(path)) and not find_images(path).paths
    return shows_videos(str(path)) or lists_videos(path)


def _in_folder(folder: Path) -> list[str]:
    """What a folder of videos stands for; empty for anything else."""
    if not folder.is_dir() or tars_in(folder) or compressed_in(folder):
        return []
    tables = [path for path in named_in(folder, ".parquet") if path.is_file()]
    pictures = [table for table in tables if has_pictures(table)]
    videos = [table for table in tables if shows_videos(str(table))]
    if videos:
        return sorted(map(str, [*pictures, *videos]))
    # Without tables the rules for pictures hold, so that what lies beside them counts as there.
    return [str(folder)] if tables and not pictures and shows_videos(str(folder)) else []


def shows_videos(location: str) -> bool:
    """Whether a place is a folder or tar with videos, or a Parquet table of videos, not images.

    A tar is one of videos where its first 100 files show one.
    """
    path = Path(location)
    if is_remote(location):
        return False
    if path.is_dir():
        return has_videos(path)
    try:
        if find_kind(path) == "tar":
            return _tar_shows_videos(path)
        if path.suffix.lower() != ".parquet":
            return False
        names = open_described(path).schema_arrow.names
    except (UsageError, OSError):
        return False
    return VIDEO in names and find_columns(names).image is None


def _tar_shows_videos(path: Path) -> bool:
    """Whether one of the first files of a tar is a video; raises OSError."""
    with open_regular(path) as file:
        headers = read_headers(file, lambda size: file.seek(size, os.SEEK_CUR))
        return any(
            isinstance(member, Member) and is_video_name(member.name)
            for member in islice(headers, FIRST)
        )


def list_files(folder: Path, *, videos: bool) -> list[Path]:
    """The pictures below a folder, and with `videos` these as well, in sorted order.

    Raises UsageError if there are none.
    """
    images = find_images(folder)
    clips = find_videos(folder) if videos else []
    if not clips:
        refuse_none(images, folder, takes_videos=videos)
    return sorted([*images.paths, *clips])


def open_any(path: Path, *, videos: bool) -> Reader:
    """The reader of a place, which with `videos` gives samples of these as well."""
    if videos and shows_videos(str(path)):
        return _Folder(path) if path.is_dir() else _Table(path)
    return open_place(path, need_text=False)


@final
@dataclass(frozen=True, slots=True)
class _Folder:
    """A picture or a video, with the text file beside it, is a sample."""

    path: Path

    def check(self) -> None:
        """Nothing can be wrong with a folder before its first file."""

    def count(self) -> int:
        return len(list_files(self.path, videos=True))

    def samples(self, start: int = 0, stop: int | None = None) -> Iterator[Sample]:
        return read_paths(self.path, list_files(self.path, videos=True)[start:stop], start)

    def samples_at(self, numbers: Collection[int]) -> Iterator[tuple[int, Sample]]:
        return read_paths_at(self.path, list_files(self.path, videos=True), numbers)


@final
@dataclass(frozen=True, slots=True)
class _Table:
    """A row with the bytes or the path of a video is a sample."""

    path: Path

    def check(self) -> None:
        """`shows_videos` has looked at its columns."""

    def count(self) -> int:
        return open_described(self.path).metadata.num_rows

    def samples(self, start: int = 0, stop: int | None = None) -> Iterator[Sample]:
        rows = read_parquet(self.path, start, stop, batch=ROWS)
        return with_safe_keys(map(self._sample, rows), "row", start)

    def samples_at(self, numbers: Collection[int]) -> Iterator[tuple[int, Sample]]:
        rows = read_parquet_at(self.path, numbers, batch=ROWS)
        numbered = ((number, (number, row)) for number, row in rows)
        return read_alone(numbered, partial(map, self._sample), "row")

    def _sample(self, numbered: tuple[int, Row]) -> Sample:
        number, row = numbered
        key = key_of(row.cells) or f"{number:09d}"
        if row.fault is not None:
            return Sample(key, None, error=row.fault)
        named = next((name for name in TEXTS if row.cells.get(name) is not None), "")
        texts = row.cells.get(named)
        sound, error = sound_texts(texts if isinstance(texts, list) else [texts])
        video, name = content_of(row.cells.get(VIDEO)), key
        if video is None:
            return Sample(key, None, sound, error=MISSING_VIDEO)
        if isinstance(video, bytes):
            name = hashlib.blake2b(video, digest_size=16).hexdigest()
        else:
            video, name = self.path.parent / video, video
        meta = {IMAGE_KEY: storable(f"{self.path.stem}/{name}")}
        return Sample(key, None, sound, meta, error, video=video)
