"""The ledger on disk: Parquet, one file a shard, one row a text."""

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from blip.capfilt.record import TextRecord

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
        pa.field("error", pa.string()),
    ]
)
"""Columns and their types; those of `TextRecord`, in its order."""

BATCH_ROWS = 8192


def encode_ledger(records: Sequence[TextRecord]) -> bytes:
    """A Parquet file of some records; equal records give equal bytes."""
    columns = {
        field.name: [getattr(record, field.name) for record in records]
        for field in fields(TextRecord)
    }
    buffer = io.BytesIO()
    table = pa.Table.from_pydict(columns, schema=SCHEMA)
    pq.write_table(table, buffer, compression="zstd", compression_level=3, version="2.6")
    return buffer.getvalue()


def count_rows(path: Path) -> int:
    """Rows of a ledger file, from its footer."""
    return pq.read_metadata(path).num_rows


def read_ledger(path: Path) -> Iterator[TextRecord]:
    """The records of a ledger file in their order."""
    for row in read_rows([path]):
        yield TextRecord(**row)


def read_rows(
    paths: Iterable[Path], columns: Sequence[str] | None = None
) -> Iterator[dict[str, Any]]:
    """Rows of some ledger files as dictionaries, a batch in memory at a time."""
    for path in paths:
        with pq.ParquetFile(path) as file:
            names = None if columns is None else list(columns)
            for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=names):
                yield from batch.to_pylist()
