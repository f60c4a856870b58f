"""Finds the videos that an annotation file means: below its folder, or in the table beside it."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, final

from blip.data.annotations.content_store import ContentStore, StoredContent
from blip.data.annotations.named_files import NamedFiles, find_key
from blip.data.keys import key_text
from blip.data.readers.parquet import open_described, read_parquet
from blip.data.readers.video_files import is_video_name
from blip.data.readers.walk import walk_folders
from blip.errors import UsageError

MAPPING = "youtube_mapping.txt"
"""Names of MSVD's videos and their numbers, a line each: `-4wsuPCjDBc_5_15 vid1`."""
NUMBERED = ("video{}", "vid{}")
"""What MSR-VTT and MSVD call the video of a number."""
TABLE = "videos.parquet"
VIDEO = "video"
KEYS = ("key", "video_id", "clip_name", "id")
TEXTS = ("caption", "captions", "sentence", "sentences", "text", "texts", "description")

ROWS = 4
"""Rows of a table that are read together: a row holds a video."""

VideoSource = Path | StoredContent


@final
class VideoFiles:
    """Videos by the names and numbers that an annotation file gives them.

    They are files below the folder of the annotations, by name (`NamedFiles`),
    or rows of `videos.parquet` there. A number is that of `youtube_mapping.txt`, else 7 is called
    `video7`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, name: str | int) -> VideoSource | None:
        """A video; None where it is not there."""
        whole = str(name)
        spelt = [whole]
        if whole.isdecimal():
            numbered = [form.format(whole) for form in NUMBERED]
            spelt += [self._mapping[one] for one in numbered if one in self._mapping] + numbered
        elif whole in self._mapping:
            spelt.append(self._mapping[whole])
        found = (self._in_table(one) or self._files.find(one) for one in spelt)
        return next((one for one in found if one is not None), None)

    def _in_table(self, name: str) -> StoredContent | None:
        key = find_key(name, self._rows, with_folders=self._with_folders)
        return None if key is None else self._rows[key]

    @cached_property
    def _rows(self) -> dict[str, StoredContent]:
        found, store = dict[str, StoredContent](), ContentStore("videos")
        if (self.folder / TABLE).is_file():
            for _, row in read_parquet(self.folder / TABLE, 0, None, batch=ROWS):
                key, content = key_of(row.cells), content_of(row.cells.get(VIDEO))
                if key is not None and key not in found and isinstance(content, bytes):
                    found[key] = store.add(content)
        return found

    @cached_property
    def _with_folders(self) -> bool:
        return any("/" in key for key in self._rows)

    @cached_property
    def _files(self) -> NamedFiles:
        return NamedFiles(self.folder, find_videos(self.folder))

    @cached_property
    def _mapping(self) -> dict[str, str]:
        """Names by `vidN`."""
        try:
            lines = (self.folder / MAPPING).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            return {}
        pairs = (line.split() for line in lines)
        return {pair[1]: pair[0] for pair in pairs if len(pair) == 2}


def find_videos(folder: Path, unreadable: list[str] | None = None) -> list[Path]:
    """The videos below a folder: first those in it, then those of each folder; hidden ones not.

    Linked folders are followed, and those that cannot be read join the `unreadable` ones
    (`walk_folders`).
    """
    found = _videos_below(folder, [] if unreadable is None else unreadable)
    return sorted(found, key=lambda path: (path.parent.parts, path.name))


def has_videos(folder: Path) -> bool:
    """Whether a folder holds a video that `find_videos` finds."""
    return next(_videos_below(folder, []), None) is not None


def _videos_below(folder: Path, unreadable: list[str]) -> Iterator[Path]:
    for entries in walk_folders(folder, unreadable):
        for entry in entries:
            if is_video_name(entry.name) and not entry.name.startswith("."):
                yield Path(entry.path)


def key_of(cells: dict[str, Any]) -> str | None:
    """What a row calls its video."""
    return next((key for name in KEYS if (key := key_text(cells.get(name))) is not None), None)


def content_of(value: Any) -> bytes | str | None:
    """The bytes or the path of a video in a cell."""
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    return value if isinstance(value, bytes | str) and value else None


def holds_videos(path: Path) -> bool:
    """Whether a Parquet table has videos; raises UsageError for another file."""
    names = open_described(path).schema_arrow.names
    if VIDEO in names:
        return True
    if "question" in names:
        return False
    raise UsageError(f"{path} has no column {VIDEO!r}; it has {', '.join(names)}")
