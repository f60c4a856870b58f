"""Tables of images and captions, Parquet, CSV, TSV and JSON lines, with image bytes or paths."""

import hashlib
import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from blip.data.keys import key_text, storable, with_safe_keys
from blip.data.readers.chosen import choose, read_alone
from blip.data.readers.delimited import Row, read_delimited, read_json_lines
from blip.data.readers.folders import extension_of, read_file
from blip.data.readers.image_files import IMAGE_EXTENSIONS
from blip.data.readers.parquet import (
    open_described,
    read_first_text,
    read_parquet,
    read_parquet_at,
)
from blip.data.readers.patterns import TABLES
from blip.data.readers.video_files import NAMES as VIDEO_NAMES
from blip.data.sample import IMAGE_KEY, Sample
from blip.data.texts import list_names, sound_texts
from blip.errors import UsageError
from blip.files import is_json_lines, is_utf8

KEYS = ("key", "image_id", "id", "uid", "__key__")
ROW_KEYS = ("id", "uid")
"""Those that number the rows in many tables, where several rows may show one image."""
IMAGES = (
    "image",
    *IMAGE_EXTENSIONS,
    *("image_path", "path", "file", "filename", "filepath", "file_name", "image_name"),
)
TEXTS = ("caption", "captions", "text", "texts", "sentence", "sentences", "txt")
URLS = ("url", "image_url", "img_url", "urls", "link")
SPLIT = "split"
ABOUT_VIDEOS = frozenset((*VIDEO_NAMES, "videos"))
"""Names in lists and tables of videos, which are read for tasks of videos alone."""
FIRST = 100
"""Lines of JSON that are read to find the names of the fields."""


class Columns(NamedTuple):
    """The columns of a table that hold what a sample is made of, as the table spells them."""

    key: str | None
    image: str | None
    text: str | None
    url: str | None
    split: str | None


def find_columns(names: Sequence[str]) -> Columns:
    """The first known name of each part among a table's columns, whatever their case."""
    spelt = {name.strip().casefold(): name for name in reversed(names)}

    def first(known: Sequence[str]) -> str | None:
        return next((spelt[name] for name in known if name in spelt), None)

    return Columns(first(KEYS), first(IMAGES), first(TEXTS), first(URLS), first((SPLIT,)))


def is_table(path: Path) -> bool:
    """Whether a file is read as a table: by its name, or a .txt file by its header."""
    suffix = path.suffix.lower()
    if suffix != ".txt":
        return suffix in TABLES
    try:
        names, _ = read_delimited(path, _fit)
    except (OSError, UsageError):
        return False
    return _fit(names)


def read_table(
    path: Path,
    start: int = 0,
    stop: int | None = None,
    *,
    images: Path | None = None,
    split: str | None = None,
    need_text: bool = True,
) -> Iterator[Sample]:
    """Rows with a key, an image (bytes, a `{"bytes": ...}` record, a path) and caption or captions.

    Paths start from `images`, else from the table's folder. Other columns of plain values go into
    `meta`. Of rows `start` to `stop` alone, where given; of a Parquet file what lies before is not
    read. `split` chooses rows by the column of that name. A key that came before has its row put
    after it. A row that cannot be read is a sample with `error`. Raises UsageError for a file that
    is not such a table, that lacks a column (that of the text where `need_text` says so), or whose
    pictures are URLs.
    """
    columns, rows = _open(path, start, stop, need_text=need_text)
    if split is not None:
        rows = _of_split(rows, columns, split, path)
    maker = _Maker(columns, images or path.parent, path.stem)
    samples = maker.samples((row, number) for number, row in rows)
    yield from with_safe_keys(samples, "row", start, keep_raw=True)


def read_table_at(
    path: Path,
    numbers: Collection[int],
    *,
    images: Path | None = None,
    split: str | None = None,
    need_text: bool = True,
) -> Iterator[tuple[int, Sample]]:
    """Some rows with their numbers, each as `read_table` reads it alone."""
    columns, rows = _open(path, 0, None, need_text=need_text, numbers=numbers)
    if split is not None:
        rows = _of_split(rows, columns, split, path)
    maker = _Maker(columns, images or path.parent, path.stem)
    numbered = ((number, (row, number)) for number, row in rows)
    return read_alone(numbered, maker.samples, "row", keep_raw=True)


def check_table(path: Path, *, need_text: bool = True) -> None:
    """Raises UsageError if `read_table` would before its first sample."""
    _open(path, 0, 0, need_text=need_text)


def has_pictures(path: Path) -> bool | None:
    """Whether a Parquet file has a column for the image; None where it cannot be read."""
    try:
        names = open_described(path).schema_arrow.names
    except UsageError:
        return None
    return find_columns(names).image is not None


def count_rows(path: Path, *, need_text: bool = True) -> int:
    """Rows of a table, those that cannot be read among them."""
    if path.suffix.lower() == ".parquet":
        return open_described(path).metadata.num_rows
    return sum(1 for _ in _open(path, 0, None, need_text=need_text)[1])


def _fit(names: Sequence[str]) -> bool:
    return find_columns(names).text is not None and _show_pictures(names)


def _show_pictures(names: Sequence[str]) -> bool:
    columns = find_columns(names)
    return columns.image is not None or columns.url is not None


def _open(
    path: Path,
    start: int,
    stop: int | None,
    *,
    need_text: bool = True,
    numbers: Collection[int] | None = None,
) -> tuple[Columns, Iterator[tuple[int, Row]]]:
    """The columns, and rows `start` to `stop`, or those of `numbers`, with their numbers."""
    if path.suffix.lower() == ".parquet":
        names = open_described(path).schema_arrow.names
        columns = _check_columns(names, path, need_text=need_text)
        refuse_urls([read_first_text(path, str(columns.image))], path)
        if numbers is not None:
            return columns, read_parquet_at(path, numbers)
        return columns, read_parquet(path, start, stop)
    fits = _fit if need_text else _show_pictures
    if is_json_lines(path):
        rows, names = read_json_lines(path), None
    else:
        names, rows = read_delimited(path, fits)
    first = [row.cells for row in islice(rows, FIRST) if row.fault is None]
    if names is None and not first:
        raise UsageError(f"{path} holds no line that is a JSON object")
    # A line need not have all of the fields.
    spelt = dict.fromkeys(name for cells in first for name in cells) if names is None else names
    columns = _check_columns(list(spelt), path, need_text=need_text)
    refuse_urls((cells.get(str(columns.image)) for cells in first[:1]), path)
    again = read_json_lines(path) if names is None else read_delimited(path, fits)[1]
    if numbers is not None:
        return columns, choose(enumerate(again), numbers)
    return columns, islice(enumerate(again), start, stop)


def _check_columns(names: Sequence[str], path: Path, *, need_text: bool) -> Columns:
    columns = find_columns(names)
    refuse_videos(names, path)
    if columns.image is None and columns.url is not None:
        raise UsageError(_no_downloads(path, f"column {columns.url}"))
    if columns.image is None:
        # Tables without a header, as that of Conceptual Captions.
        refuse_urls(names, path)
    image, text = ("image", columns.image, IMAGES), ("text", columns.text, TEXTS)
    for part, column, known in (image, text) if need_text else (image,):
        if column is None:
            raise UsageError(
                f"{path} has no column for the {part}; it has {list_names(names)}, "
                f"allowed: {', '.join(known)}"
            )
    return columns


def names_videos(names: Iterable[str]) -> bool:
    """Whether a table, or an entry of a list, with these names is about videos, not pictures."""
    spelt = list(names)
    return not ABOUT_VIDEOS.isdisjoint(spelt) and find_columns(spelt).image is None


def refuse_videos(names: Sequence[str], path: Path) -> None:
    """Raises UsageError if these names are those of a list of videos; it says what reads it."""
    if names_videos(names):
        task = "video_qa" if "question" in names else "video_retrieval"
        raise UsageError(
            f"{path} lists videos; `blip evaluate --task {task}` and `blip data pack` read it"
        )


def refuse_urls(values: Iterable[Any], path: Path) -> None:
    """Raises UsageError if one of some values of a file's pictures is a URL."""
    for value in values:
        if isinstance(value, str) and value.strip().lower().startswith(("http://", "https://")):
            raise UsageError(_no_downloads(path, list_names([value.strip()[:80]])))


def _no_downloads(path: Path, where: str) -> str:
    return (
        f"{path} names pictures by their URLs ({where}), and URLs are not fetched here: download "
        "with img2dataset first, and give what it writes"
    )


def _of_split(
    rows: Iterator[tuple[int, Row]], columns: Columns, split: str, path: Path
) -> Iterator[tuple[int, Row]]:
    """The rows of a split; raises UsageError if there are none, naming the splits there are."""
    if columns.split is None:
        raise UsageError(f"--split {split}: {path} has no column {SPLIT!r}")
    seen: dict[str, None] = {}
    for number, row in rows:
        name = str(row.cells.get(columns.split))
        seen.setdefault(name or "''")
        if name == split:
            yield number, row
    if split not in seen:
        raise UsageError(f"--split {split}: {path} has the splits {list_names(sorted(seen))}")


class _Maker(NamedTuple):
    """Makes the samples of a table."""

    columns: Columns
    folder: Path
    """Where paths start."""
    place: str
    """The table's name, in front of the names of its images."""

    def samples(self, rows: Iterable[tuple[Row, int]]) -> Iterator[Sample]:
        return (self.sample(row, number) for row, number in rows)

    def sample(self, row: Row, number: int) -> Sample:
        cells, columns = row.cells, self.columns
        if columns.image not in cells or columns.text not in cells:
            columns = find_columns(list(cells))
        key = key_text(cells.get(columns.key)) if columns.key else None
        if row.fault is not None:
            return Sample(key or f"{number:09d}", None, error=row.fault)
        picture = _picture(cells.get(str(columns.image)))
        content, extension = _image(picture, self.folder)
        value = cells.get(str(columns.text))
        texts, error = sound_texts(value if isinstance(value, list) else [value])
        if content is None:
            error = "missing_image"
        meta = {
            n: v for n, v in cells.items() if n not in columns[:3] and is_utf8(n) and _is_plain(v)
        }
        name = key_text(cells.get(IMAGE_KEY)) or self._image_name(key, picture) or f"{number:09d}"
        meta[IMAGE_KEY] = storable(f"{self.place}/{name}")
        return Sample(key or f"{number:09d}", content, texts, meta, error, extension)

    def _image_name(self, key: str | None, picture: str | bytes | None) -> str | None:
        """What the rows of one image have in common: a key, a path or the same bytes.

        A key from a column of `ROW_KEYS` counts only where there is no picture.
        """
        if isinstance(picture, bytes):
            picture = hashlib.blake2b(picture, digest_size=16).hexdigest()
        counts_rows = (self.columns.key or "").strip().casefold() in ROW_KEYS
        return (picture or key) if counts_rows else (key or picture)


def _is_plain(value: Any) -> bool:
    """Whether a value can be written as JSON in UTF-8 that every reader reads."""
    if isinstance(value, str):
        return is_utf8(value)
    return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))


def _picture(value: Any) -> str | bytes | None:
    """The bytes or the path of a picture in a cell."""
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    return value if isinstance(value, str | bytes) and value.strip() else None


def _image(picture: str | bytes | None, folder: Path) -> tuple[bytes | None, str]:
    if picture is None:
        return None, "jpg"
    if isinstance(picture, bytes):
        return picture, extension_of(picture)
    content, extension = read_file(folder / picture)
    if content is None and picture != picture.strip():
        return read_file(folder / picture.strip())
    return content, extension
