"""Pictures in the rows of a table of annotations: in which column, and read where asked for."""

from collections.abc import Collection, Iterator
from pathlib import Path

import pyarrow as pa

from blip.data.readers.parquet import bytes_in, holds_texts, open_described, read_parquet_at
from blip.data.readers.tables import find_columns


def find_picture_column(schema: pa.Schema) -> str | None:
    """The column with the pictures themselves; None if there is none, or one of their paths."""
    image = find_columns(schema.names).image
    # By its place: another column may have the same name.
    paths = image is None or holds_texts(schema.field(schema.names.index(image)).type)
    return None if paths else image


def read_own_pictures(
    path: Path, rows: Collection[int]
) -> Iterator[tuple[bytes | None, str | None]]:
    """The pictures in some rows, in order, and what is wrong with the row; nothing else is read."""
    column = find_picture_column(open_described(path).schema_arrow) if rows else None
    if column is None:
        return
    for _, row in read_parquet_at(path, rows, columns=[column]):
        yield bytes_in(row.cells.get(column)), row.fault
