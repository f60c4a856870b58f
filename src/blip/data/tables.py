"""Tables of images and captions: Parquet, CSV and TSV, with image bytes or paths; plain folders."""

import csv
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from errno import EFBIG
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from blip.data.image_files import IMAGE_EXTENSIONS, list_images, read_image_file
from blip.data.parts import TEXT_LIMIT
from blip.data.sample import IMAGE_KEY, Sample
from blip.errors import UsageError
from blip.files import read_regular

KEYS = ("key", "image_id", "id", "uid", "__key__")
ROW_KEYS = ("id", "uid")
"""Those that tell rows apart in many tables, where several rows may show one image."""
IMAGES = ("image", "jpg", "png", "image_path", "path", "file", "filename", "filepath")
TEXTS = ("caption", "captions", "text", "texts", "sentence")
BATCH = 256
csv.field_size_limit(1 << 30)


def read_parquet(path: Path, start: int = 0, stop: int | None = None) -> Iterator[Sample]:
    """Rows with a key, an image (bytes, a `{"bytes": ...}` record, a path) and caption or captions.

    Other columns of plain values go into `meta`. Of rows `start` to `stop` alone, where given; what
    lies before is not read. A key that came before has its row put behind it. Raises UsageError
    where a column is missing.
    """
    with pq.ParquetFile(path) as file:
        columns = _columns(list(file.schema_arrow.names), path)
        groups, before = [], 0
        for group in range(file.num_row_groups):
            after = before + file.metadata.row_group(group).num_rows
            if after > start and (stop is None or before < stop):
                groups.append((group, before))
            before = after
        if not groups:
            return
        batches = file.iter_batches(BATCH, row_groups=[group for group, _ in groups])
        rows = (row for batch in batches for row in batch.to_pylist())
        first = groups[0][1]
        last = None if stop is None else stop - first
        chosen = islice(enumerate(rows, first), max(start - first, 0), last)
        yield from check_keys((_row(row, columns, number, path) for number, row in chosen), start)


def read_csv(path: Path, start: int = 0, stop: int | None = None) -> Iterator[Sample]:
    """Rows of a CSV or TSV file with a header; images are paths relative to the file.

    Of rows `start` to `stop` alone, where given. Keys are as those of `read_parquet`.
    """
    with path.open(encoding="utf-8", newline="", errors="replace") as file:
        reader = csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        columns = _columns(list(reader.fieldnames or ()), path)
        chosen = islice(enumerate(reader), start, stop)
        yield from check_keys((_row(row, columns, number, path) for number, row in chosen), start)


def read_folder(folder: Path, start: int = 0, stop: int | None = None) -> Iterator[Sample]:
    """Pictures below a folder with a text file of the same name beside each; a line a caption.

    Of the pictures `start` to `stop` in sorted order alone, where given. One without a text, or
    with one that is no UTF-8, comes with its picture and with `error`.
    """
    yield from check_keys(_read_pictures(folder, start, stop))


def check_keys(samples: Iterable[Sample], first_row: int | None = None) -> Iterator[Sample]:
    """Samples whose keys can be written: what is unsafe or came before is an error.

    Where rows are counted, from `first_row`, a key that came before has its row put behind it
    instead: many tables have a row for every caption of an image, which stays the same image. A
    key that is a path from the root loses its slash.
    """
    seen: set[str] = set()
    for number, given in enumerate(samples, first_row or 0):
        sample = replace(given, key=given.key.lstrip("/"))
        if sample.key in seen and first_row is not None:
            meta = {"key": sample.key, **sample.meta}
            sample = replace(sample, key=f"{sample.key}-row-{number:09d}", meta=meta)
        if ".." in sample.key.split("/") or "\0" in sample.key:
            sample = replace(sample, error="unsafe_name")
        elif sample.key in seen:
            sample = replace(sample, error="duplicate_key")
        seen.add(sample.key)
        yield sample


def _read_pictures(folder: Path, start: int, stop: int | None) -> Iterator[Sample]:
    for path in list_images(folder)[start:stop]:
        key = path.relative_to(folder).with_suffix("").as_posix().replace(".", "_")
        content, extension = read_file(path)
        texts, error = _beside(path.with_suffix(".txt"))
        if content is None:
            error = "missing_image"
        meta = {IMAGE_KEY: f"{folder.absolute().name}/{path.relative_to(folder).as_posix()}"}
        yield Sample(key, content, texts, meta, error, extension)


def count_rows(path: Path) -> int:
    """Rows of a Parquet, CSV or TSV file."""
    if path.suffix.lower() == ".parquet":
        return pq.read_metadata(path).num_rows
    with path.open(encoding="utf-8", newline="", errors="replace") as file:
        rows = csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        # As the reader above, which skips empty lines, and the header.
        return max(sum(bool(row) for row in rows) - 1, 0)


def read_file(path: Path) -> tuple[bytes | None, str]:
    """The bytes of an image file and its extension; None where none of a fit size is there."""
    extension = path.suffix.lower().lstrip(".")
    try:
        content = read_image_file(path)
    # Not every text is a path: one with NUL is none.
    except (OSError, ValueError):
        return None, extension or "jpg"
    return content, extension if extension in IMAGE_EXTENSIONS else "jpg"


def _beside(path: Path) -> tuple[tuple[str, ...], str | None]:
    """The captions in a text file, and what is wrong with it."""
    try:
        lines = read_regular(path, TEXT_LIMIT).decode("utf-8").splitlines()
    except OSError as error:
        return (), "text_too_long" if error.errno == EFBIG else "missing_text"
    except UnicodeDecodeError:
        return (), "text_not_utf8"
    return tuple(line.strip() for line in lines if line.strip()), None


def _columns(names: list[str], path: Path) -> dict[str, str | None]:
    found = {
        part: next((name for name in known if name in names), None)
        for part, known in (("key", KEYS), ("image", IMAGES), ("text", TEXTS))
    }
    for part, known in (("image", IMAGES), ("text", TEXTS)):
        if found[part] is None:
            raise UsageError(
                f"{path} has no column for the {part}; it has {', '.join(names)}, "
                f"allowed: {', '.join(known)}"
            )
    return found


def _row(row: dict[str, Any], columns: dict[str, str | None], number: int, table: Path) -> Sample:
    key = str(row[columns["key"]]) if columns["key"] else f"{number:09d}"
    value, texts = row[str(columns["image"])], row[str(columns["text"])]
    texts = [texts] if isinstance(texts, str) else list(texts or ())
    content, extension = _image(value, table.parent)
    meta = {
        name: other
        for name, other in row.items()
        if name not in columns.values() and isinstance(other, str | int | float | bool)
    }
    meta[IMAGE_KEY] = f"{table.stem}/{_image_name(row, columns, number)}"
    error = "missing_image" if content is None else None
    return Sample(key, content, tuple(str(t).strip() for t in texts), meta, error, extension)


def _image_name(row: dict[str, Any], columns: dict[str, str | None], number: int) -> str:
    """What the rows of one image have in common: a key, a path or the same bytes; else its row.

    A column of `ROW_KEYS` is asked after the picture.
    """
    image = row[str(columns["image"])]
    if isinstance(image, dict):
        image = image.get("bytes") or image.get("path")
    if isinstance(image, bytes):
        image = hashlib.blake2b(image, digest_size=16).hexdigest()
    key = row[columns["key"]] if columns["key"] else None
    if isinstance(key, float) and key.is_integer():
        key = int(key)
    names = (image, key) if columns["key"] in ROW_KEYS else (key, image)
    for name in (row.get(IMAGE_KEY), *names):
        if isinstance(name, str | int) and name != "":
            return str(name)
    return f"{number:09d}"


def _image(value: Any, folder: Path) -> tuple[bytes | None, str]:
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return value, "png" if value.startswith(b"\x89PNG") else "jpg"
    if isinstance(value, str) and value:
        return read_file(folder / value)
    return None, "jpg"
