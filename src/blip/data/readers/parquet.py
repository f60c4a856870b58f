"""Parquet files opened by their path, whatever bytes that has."""

from pathlib import Path

import pyarrow.parquet as pq

from blip.files import is_utf8


def open_parquet(path: Path) -> pq.ParquetFile:
    """A Parquet file, as pyarrow opens it; raises what pyarrow raises."""
    # pyarrow takes no path that is not UTF-8.
    return pq.ParquetFile(path if is_utf8(path) else path.open("rb"))
