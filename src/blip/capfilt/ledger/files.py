"""The ledger on disk: one Parquet file for each shard, one row for each text."""

# Arrow makes its compute functions at run time, out of pyright's sight.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import UInt

from blip.capfilt.ledger.columns import sample_ends
from blip.capfilt.ledger.parquet import whole_parquet
from blip.capfilt.ledger.records import TextRecord
from blip.data.readers.parquet import open_parquet
from blip.errors import BlipError, UsageError, first_line

SCHEMA = pa.schema(
    [
        pa.field("shard", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("number", pa.int32(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("itm_score", pa.float64()),
        pa.field("itc_cosine", pa.float64()),
        pa.field("kept", pa.bool_(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("captioner", pa.string(), nullable=False),
        pa.field("filter", pa.string(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("image_hash", pa.string()),
        pa.field("language", pa.string()),
        pa.field("repeats", pa.int32()),
        pa.field("error", pa.string()),
    ]
)
"""Columns and their types; those of `TextRecord`, in its order.

`image_hash` is written as 16 hexadecimal digits: pandas turns a column of whole numbers with nulls
into floats, which hold 53 bits.
"""

LATER = frozenset({"repeats"})
"""Columns that ledgers of earlier versions lack; they are read as null."""

GROUP_ROWS = 1 << 16
GROUP_CHARACTERS = 1 << 24
"""A row group is full at either limit; readers hold one row group in memory at a time."""
BATCH_ROWS = 8192


@contextmanager
def open_ledger(path: Path) -> Iterator["LedgerWriter"]:
    """A writer of a ledger, whose file appears when the block ends without an error."""
    with whole_parquet(path, SCHEMA) as file:
        ledger = LedgerWriter(file)
        yield ledger
        ledger.flush()


class LedgerWriter:
    """Writes a ledger whose bytes depend on its rows alone; memory holds one row group.

    All rows of a sample are in one row group.
    """

    def __init__(self, file: pq.ParquetWriter) -> None:
        self.file = file
        self.waiting: list[pa.Table] = []
        self.rows = self.characters = 0

    def write(self, table: pa.Table) -> None:
        """Add rows, which hold whole samples; bytes do not depend on how many come at a time."""
        ends = sample_ends(table)
        characters = np.cumsum(pc.utf8_length(table["text"]).to_numpy())[ends - 1]
        begin = counted = 0
        for end, total in zip(ends.tolist(), characters.tolist(), strict=True):
            rows, length = self.rows + end - begin, self.characters + total - counted
            if rows >= GROUP_ROWS or length >= GROUP_CHARACTERS:
                self._add(table.slice(begin, end - begin))
                self.flush()
                begin, counted = end, total
        if begin < table.num_rows:
            self._add(table.slice(begin))
            self.characters += int(characters[-1]) - counted

    def write_group(self, table: pa.Table) -> None:
        """Add a row group that `read_groups` yielded."""
        self.flush()
        if table.num_rows:
            self.file.write_table(table, row_group_size=table.num_rows)

    def _add(self, rows: pa.Table) -> None:
        self.waiting.append(rows)
        self.rows += rows.num_rows

    def flush(self) -> None:
        """End the row group."""
        if self.waiting:
            table = pa.concat_tables(self.waiting).combine_chunks()
            self.file.write_table(table, row_group_size=table.num_rows)
        self.waiting, self.rows, self.characters = [], 0, 0


def records_to_table(records: Sequence[TextRecord]) -> pa.Table:
    """The records as columns."""
    columns = {
        field.name: [getattr(record, field.name) for record in records]
        for field in fields(TextRecord)
    }
    columns["image_hash"] = [_digits(number) for number in columns["image_hash"]]
    return pa.Table.from_pydict(columns, schema=SCHEMA)


def find_ledgers(folder: Path) -> list[Path]:
    """The ledger files of a job, in the order of its shards: by its folder, or that of its ledgers.

    Raises UsageError if there are none.
    """
    for place in (folder / "ledger", folder):
        if found := sorted(place.glob("*.parquet")):
            return found
    raise UsageError(
        f"no ledger in {folder}; give the folder that `blip capfilt --out` wrote, or its ledger/"
    )


def count_rows(path: Path) -> int:
    """Rows of a ledger file, from its footer; raises BlipError if it is truncated."""
    try:
        with open_parquet(path) as file:
            return file.metadata.num_rows
    except pa.ArrowInvalid as error:
        raise _truncated(path, error) from error


def read_groups(path: Path, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The row groups of a ledger, one in memory at a time; no sample lies in two of them.

    Raises BlipError if the file is not a ledger, or lacks some of the columns.
    """
    try:
        file = open_parquet(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise _truncated(path, error) from error
    with file:
        names = list(columns or SCHEMA.names)
        present = [name for name in names if name in file.schema_arrow.names]
        absent = [name for name in names if name not in present]
        if missing := [name for name in absent if name not in LATER]:
            raise BlipError(
                f"{path} is not a ledger of this version: it lacks {', '.join(missing)}"
            )
        schema = pa.schema([SCHEMA.field(name) for name in names])
        for number in range(file.num_row_groups):
            try:
                group = file.read_row_group(number, columns=present, use_threads=False)
                for name in absent:
                    group = group.append_column(name, pa.nulls(group.num_rows))
                yield _with_digits(group.select(names)).cast(schema).combine_chunks()
            except (pa.ArrowInvalid, OSError) as error:
                raise BlipError(f"{path} cannot be read: {first_line(error)}") from error


def to_record(row: dict[str, Any]) -> TextRecord:
    """The record of a row with all columns."""
    digits = row["image_hash"]
    return TextRecord(**{**row, "image_hash": None if digits is None else int(digits, 16)})


def hash_numbers(digits: pa.ChunkedArray) -> UInt[np.ndarray, " rows"]:
    """The column `image_hash` as numbers; 0 where a row has none.

    Raises BlipError if a value is not 16 hexadecimal digits.
    """
    texts = digits.fill_null("0" * 16).to_pylist()
    try:
        numbers = np.frombuffer(bytes.fromhex("".join(texts)), ">u8").astype(np.uint64)
    except ValueError as error:
        raise BlipError(f"an image_hash of the ledger is not hexadecimal: {error}") from error
    if len(numbers) != len(texts):
        raise BlipError("an image_hash of the ledger does not have 16 digits")
    return numbers


def _digits(number: int | None) -> str | None:
    return None if number is None else f"{number:016x}"


def _with_digits(group: pa.Table) -> pa.Table:
    """A row group with its hashes as digits; earlier versions wrote numbers."""
    place = group.schema.get_field_index("image_hash")
    if place < 0 or not pa.types.is_integer(group.schema.field(place).type):
        return group
    digits = pa.array([_digits(number) for number in group["image_hash"].to_pylist()], pa.string())
    return group.set_column(place, "image_hash", digits)


def read_rows(
    paths: Iterable[Path], columns: Sequence[str] | None = None
) -> Iterator[dict[str, Any]]:
    """Rows of some ledger files as dictionaries, a batch in memory at a time."""
    for path in paths:
        for group in read_groups(path, columns):
            for batch in group.to_batches(max_chunksize=BATCH_ROWS):
                yield from batch.to_pylist()


def _truncated(path: Path, error: Exception) -> BlipError:
    return BlipError(f"{path} is not a whole Parquet file: {first_line(error)}")
