"""Kept texts without their images: a Parquet file a shard, for collections too large to copy."""

from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import pyarrow as pa
import pyarrow.parquet as pq

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
"""`path` is the tar, table or folder that the image lies in, `key` its key there."""


class SampleWriter(Protocol):
    """Takes the kept texts of a shard."""

    def write(
        self, key: str, image: bytes, extension: str, text: str, meta: dict[str, Any]
    ) -> None:
        """Add a text with its image."""
        ...


class TextsWriter:
    """Takes what a ShardWriter takes, and leaves the images where they are.

    The file appears under its name when the block ends without an error, and not before.
    """

    def __init__(self, path: Path, source: str) -> None:
        self.path, self.source = path, source
        self.rows: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        """Nothing is written yet."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write all rows beside, and rename."""
        if kind is not None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_name(f".{self.path.name}.part")
        try:
            table = pa.Table.from_pylist(self.rows, schema=SCHEMA)
            pq.write_table(table, beside, compression="zstd", compression_level=3, version="2.6")
            beside.replace(self.path)
        finally:
            beside.unlink(missing_ok=True)

    def write(
        self, key: str, image: bytes, extension: str, text: str, meta: dict[str, Any]
    ) -> None:
        """Add a text; `meta` says of which sample it is, and where it is from."""
        told = {name: meta[name] for name in SCHEMA.names if name not in ("path", "text")}
        self.rows.append({"path": self.source, "text": text, **told})
