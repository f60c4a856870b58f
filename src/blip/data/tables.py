"""Tables of images and captions: Parquet, CSV and TSV, with image bytes or paths; plain folders."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from blip.data.sample import Sample
from blip.data.shards import IMAGE_EXTENSIONS
from blip.errors import UsageError

KEYS = ("key", "image_id", "id", "uid", "__key__")
IMAGES = ("image", "jpg", "png", "image_path", "path", "file", "filename", "filepath")
TEXTS = ("caption", "captions", "text", "texts", "sentence")
BATCH = 256


def read_parquet(path: Path) -> Iterator[Sample]:
    """Rows with a key, an image (bytes, a `{"bytes": ...}` record, a path) and caption or captions.

    Other columns of plain values go into `meta`. Raises UsageError where a column is missing.
    """
    with pq.ParquetFile(path) as file:
        names = list(file.schema_arrow.names)
        columns = _columns(names, path)
        for number, row in enumerate(
            row for batch in file.iter_batches(BATCH) for row in batch.to_pylist()
        ):
            yield _row(row, columns, number, path.parent)


def read_csv(path: Path) -> Iterator[Sample]:
    """Rows of a CSV or TSV file with a header; images are paths relative to the file."""
    with path.open(encoding="utf-8", newline="", errors="replace") as file:
        reader = csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        columns = _columns(list(reader.fieldnames or ()), path)
        for number, row in enumerate(reader):
            yield _row(row, columns, number, path.parent)


def read_folder(folder: Path) -> Iterator[Sample]:
    """Pictures below a folder with a text file of the same name beside each; a line a caption."""
    pictures = sorted(
        path for path in folder.rglob("*") if path.suffix.lower()[1:] in IMAGE_EXTENSIONS
    )
    if not pictures:
        raise UsageError(f"{folder} holds no pictures ({', '.join(IMAGE_EXTENSIONS)})")
    for path in pictures:
        key = path.relative_to(folder).with_suffix("").as_posix().replace(".", "_")
        beside = path.with_suffix(".txt")
        if not beside.is_file():
            yield Sample(key, None, error="missing_text")
            continue
        try:
            lines = beside.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            yield Sample(key, None, error="text_not_utf8")
            continue
        texts = tuple(line.strip() for line in lines if line.strip())
        yield Sample(key, path.read_bytes(), texts, extension=path.suffix.lower()[1:])


def read_file(path: Path) -> tuple[bytes | None, str]:
    """The bytes of an image file, or None, and its extension."""
    extension = path.suffix.lower().lstrip(".")
    try:
        content = path.read_bytes()
    except OSError:
        return None, extension or "jpg"
    return content, extension if extension in IMAGE_EXTENSIONS else "jpg"


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


def _row(row: dict[str, Any], columns: dict[str, str | None], number: int, folder: Path) -> Sample:
    key = str(row[columns["key"]]) if columns["key"] else f"{number:09d}"
    value, texts = row[str(columns["image"])], row[str(columns["text"])]
    texts = [texts] if isinstance(texts, str) else list(texts or ())
    content, extension = _image(value, folder)
    meta = {
        name: other
        for name, other in row.items()
        if name not in columns.values() and isinstance(other, str | int | float | bool)
    }
    error = "missing_image" if content is None else None
    return Sample(key, content, tuple(str(t).strip() for t in texts), meta, error, extension)


def _image(value: Any, folder: Path) -> tuple[bytes | None, str]:
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return value, "png" if value.startswith(b"\x89PNG") else "jpg"
    if isinstance(value, str) and value:
        return read_file(folder / value)
    return None, "jpg"
