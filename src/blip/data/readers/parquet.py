"""Rows of Parquet files; a row that cannot be read is named and costs no other."""

from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from itertools import accumulate, islice, pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from blip.data.readers.chosen import choose
from blip.data.readers.delimited import BROKEN_ROW, Row, say_repeated
from blip.errors import UsageError, first_line
from blip.files import is_utf8

BATCH = 256
"""Rows that are read together."""
BUFFER = 1 << 20
"""Bytes of a column that are read from the file together."""


def open_parquet(path: Path) -> pq.ParquetFile:
    """A Parquet file, as pyarrow opens it; raises what pyarrow raises."""
    # pyarrow takes no path that is not UTF-8.
    source = path if is_utf8(path) else path.open("rb")
    # Without a buffer it reads the whole column of a group first, of pictures the whole table.
    return pq.ParquetFile(source, pre_buffer=False, buffer_size=BUFFER)


def open_described(path: Path) -> pq.ParquetFile:
    """A closed file whose schema and metadata are read; raises UsageError for another file."""
    try:
        with open_parquet(path) as file:
            _ = file.schema_arrow
            return file
    except FileNotFoundError as error:
        raise UsageError(f"no file at {path}") from error
    # A file of another kind, one cut off, one encrypted: each has an error of its own.
    except Exception as error:
        raise UsageError(f"{path} is not a Parquet file: {first_line(error)}") from error


def holds_texts(kind: pa.DataType) -> bool:
    """Whether a column of a type holds texts, as they are or as categories of pandas."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def bytes_in(cell: Any) -> bytes | None:
    """The bytes of a picture in a cell, which may hold a path beside them; None without any."""
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    return content if isinstance(content, bytes) else None


def read_first_text(path: Path, column: str) -> str | None:
    """The first value of a column of texts; None where it holds none, or cannot be read."""
    with open_parquet(path) as file:
        schema = file.schema_arrow
        # By its place: another column may have the same name.
        if not holds_texts(schema.field(schema.names.index(column)).type):
            return None
        try:
            batch = next(file.iter_batches(1, columns=[column]), None)
            return batch.column(0)[0].as_py() if batch is not None and batch.num_rows else None
        # Reading the rows reports what is broken.
        except (OSError, ValueError):
            return None


def read_parquet(
    path: Path,
    start: int,
    stop: int | None,
    *,
    batch: int = BATCH,
    columns: Sequence[str] | None = None,
) -> Iterator[tuple[int, Row]]:
    """Rows `start` to `stop` with their numbers; `batch` of them are in memory.

    They are read group by group: a group that cannot be read costs its own rows alone. `columns`
    are those that are read, by default all.
    """
    with open_parquet(path) as file:
        say_repeated(file.schema_arrow.names, path)
        for group, (first, after) in enumerate(pairwise(group_bounds(file))):
            if after <= start or (stop is not None and first >= stop):
                continue
            rows = enumerate(read_group(file, group, after - first, batch, columns), first)
            last = None if stop is None else stop - first
            yield from islice(rows, max(start - first, 0), last)


def read_parquet_at(
    path: Path,
    numbers: Collection[int],
    *,
    batch: int = BATCH,
    columns: Sequence[str] | None = None,
) -> Iterator[tuple[int, Row]]:
    """Some rows with their numbers, from 0; of the groups without any nothing is read.

    `columns` are those that are read, by default all.
    """
    ordered = sorted(set(numbers))
    with open_parquet(path) as file:
        for group, (first, after) in enumerate(pairwise(group_bounds(file))):
            wanted = ordered[bisect_left(ordered, first) : bisect_left(ordered, after)]
            if wanted:
                rows = enumerate(read_group(file, group, after - first, batch, columns), first)
                yield from choose(rows, wanted)


def group_bounds(file: pq.ParquetFile) -> tuple[int, ...]:
    """The first row of each group, and the number of all rows."""
    metadata = file.metadata
    lengths = (metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
    return tuple(accumulate(lengths, initial=0))


def read_group(
    file: pq.ParquetFile, group: int, length: int, batch: int, columns: Sequence[str] | None
) -> Iterator[Row]:
    """All rows of a group, whose number is its `length`: those that cannot be read are broken."""
    batches, done = file.iter_batches(batch, row_groups=[group], columns=columns), 0
    while done < length:
        try:
            some = next(batches)
        # Each codec and each encoding has errors of its own.
        except Exception as error:
            for _ in range(length - done):
                yield Row({}, f"{BROKEN_ROW}: {first_line(error)}")
            return
        done += some.num_rows
        yield from map(Row, _to_rows(some))


def _to_rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    names = batch.schema.names
    if len(set(names)) < len(names):
        # The first of two columns of one name counts, as in every table.
        batch = batch.select(sorted({name: names.index(name) for name in names}.values()))
    try:
        return batch.to_pylist()
    # A text that is not UTF-8, a time that Python cannot hold: one cell must not cost the others.
    except (ValueError, OverflowError, pa.ArrowException):
        names = batch.schema.names
        columns = [[_cell(value) for value in column] for column in batch.columns]
        return [dict(zip(names, cells, strict=True)) for cells in zip(*columns, strict=True)]


def _cell(value: pa.Scalar) -> Any:
    try:
        return value.as_py()
    except UnicodeDecodeError:
        # As bytes it is read as a text that is not UTF-8.
        return value.as_buffer().to_pybytes() if hasattr(value, "as_buffer") else b"\xff"
    except (ValueError, OverflowError, pa.ArrowException):
        return None
