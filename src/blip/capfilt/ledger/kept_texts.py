"""Kept texts without images: one Parquet file for each shard, where images need not be copied."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from blip.capfilt.ledger.files import SCHEMA as LEDGER
from blip.capfilt.ledger.parquet import whole_parquet
from blip.data.keys import storable

PATH = pa.field("path", pa.string(), nullable=False)
FROM_LEDGER = ("key", "source", "text", "itm_score", "itc_cosine", "captioner", "filter", "seed")
SCHEMA = pa.schema([PATH, *(LEDGER.field(name) for name in FROM_LEDGER)])
"""`path` is the tar, table or folder that holds the image, `key` its key there, made safe."""
GROUP_ROWS = 1 << 16
"""Rows of a row group, all of which are in memory."""


@contextmanager
def open_texts(path: Path, source: str) -> Iterator["TextsWriter"]:
    """A writer of the kept texts of `source`, whose file appears when the block ends well."""
    with whole_parquet(path, SCHEMA) as file:
        texts = TextsWriter(file, source)
        yield texts
        texts.flush(whole_groups=False)


class TextsWriter:
    """Takes rows of a ledger, and leaves the images where they are.

    The bytes of the file do not depend on how many rows come at a time.
    """

    def __init__(self, file: pq.ParquetWriter, source: str) -> None:
        self.file, self.source = file, storable(source)
        self.tables: list[pa.Table] = []

    def write(self, rows: pa.Table) -> None:
        """Add the texts of those of some rows of a ledger that are kept."""
        kept = rows.filter(rows["kept"])
        paths = pa.repeat(pa.scalar(self.source), kept.num_rows)
        table = kept.append_column(PATH, paths)
        self.tables.append(table.select(SCHEMA.names).cast(SCHEMA))
        if sum(table.num_rows for table in self.tables) >= GROUP_ROWS:
            self.flush(whole_groups=True)

    def flush(self, *, whole_groups: bool) -> None:
        """Write row groups: all rows, or as many as make whole groups."""
        if not self.tables:
            return
        table, self.tables = pa.concat_tables(self.tables).combine_chunks(), []
        while table.num_rows >= GROUP_ROWS or (table.num_rows and not whole_groups):
            self.file.write_table(table.slice(0, GROUP_ROWS), row_group_size=GROUP_ROWS)
            table = table.slice(GROUP_ROWS)
        if table.num_rows:
            self.tables.append(table)
