"""Parquet files that appear whole, and whose bytes depend on their rows alone."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from blip.files import hidden_beside


@contextmanager
def whole_parquet(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """A writer of a file beside `path`, which takes its place when the block ends without an error.

    After an error nothing of it is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = hidden_beside(path, "part")
    with part.open("wb") as file:
        writer = open_writer(file, schema)
        try:
            yield writer
            writer.close()
            file.close()
            part.replace(path)
        finally:
            # Without this, the garbage collector closes it later, and prints its error.
            with suppress(OSError, pa.ArrowException):
                writer.close()
            part.unlink(missing_ok=True)


def open_writer(place: Any, schema: pa.Schema) -> pq.ParquetWriter:
    """A writer with the settings of all our files."""
    return pq.ParquetWriter(place, schema, compression="zstd", compression_level=3, version="2.6")
