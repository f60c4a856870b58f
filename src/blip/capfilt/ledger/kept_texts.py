"""Kept texts without images: one Parquet file for each shard, where images need not be copied."""

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa

from blip.capfilt.ledger.parquet import whole_parquet

SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("itm_score", pa.float64()),
        pa.field("itc_cosine", pa.float64()),
        pa.field("captioner", pa.string(), nullable=False),
        pa.field("filter", pa.string(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
    ]
)
"""`path` is the tar, table or folder that holds the image, `key` its key there, made safe."""


GROUP_ROWS = 1 << 16
"""Rows of a row group, all of which are in memory."""


class TextsWriter:
    """Takes rows of a ledger, and leaves the images where they are.

    The file appears under its name when the block ends without an error, and not before. Its bytes
    do not depend on how many rows came at a time.
    """

    def __init__(self, path: Path, source: str) -> None:
        self.path, self.source = path, source
        self.open = ExitStack()
        self.tables: list[pa.Table] = []

    def __enter__(self) -> Self:
        """Open a temporary file beside the table."""
        self.writer = self.open.enter_context(whole_parquet(self.path, SCHEMA))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Rename into place; after an error remove what was written."""
        if kind is None:
            with self.open:
                self._flush(whole_groups=False)
        else:
            self.open.__exit__(kind, error, trace)

    def write(self, rows: pa.Table) -> None:
        """Add the texts of those of some rows of a ledger that are kept."""
        kept = rows.filter(rows["kept"])
        paths = pa.repeat(pa.scalar(self.source), kept.num_rows)
        table = kept.append_column(pa.field("path", pa.string(), nullable=False), paths)
        self.tables.append(table.select(SCHEMA.names).cast(SCHEMA))
        if sum(table.num_rows for table in self.tables) >= GROUP_ROWS:
            self._flush(whole_groups=True)

    def _flush(self, *, whole_groups: bool) -> None:
        if not self.tables:
            return
        table, self.tables = pa.concat_tables(self.tables).combine_chunks(), []
        while table.num_rows >= GROUP_ROWS or (table.num_rows and not whole_groups):
            self.writer.write_table(table.slice(0, GROUP_ROWS), row_group_size=GROUP_ROWS)
            table = table.slice(GROUP_ROWS)
        if table.num_rows:
            self.tables.append(table)
