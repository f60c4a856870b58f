"""The rows of a ledger as an Arrow table: samples in it, their counts, columns as arrays.

This is the form that rows have from the models to the file: a batch is made into a table once,
decided on in columns, counted and written.
"""

# Arrow makes its compute functions at run time, out of pyright's sight.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float, Int

from blip.capfilt.ledger.records import Counts

OF_KEPT = (
    "key",
    "source",
    "number",
    "text",
    "itm_score",
    "itc_cosine",
    "kept",
    "captioner",
    "filter",
    "seed",
)
"""Columns that the output says of a text."""
ROWS_AT_A_TIME = 4096
"""Rows that are dictionaries at a time."""


def sample_starts(table: pa.Table) -> Int[np.ndarray, " samples"]:
    """The first row of every sample; a bad one stands alone, even after one of the same key."""
    if table.num_rows == 0:
        return np.zeros(0, np.int64)
    keys, bad = table["key"].combine_chunks(), booleans(pc.equal(table["source"], "bad"))
    differ = booleans(pc.not_equal(keys[1:], keys[:-1]))
    begins = np.concatenate(([True], differ | bad[1:] | bad[:-1]))
    return np.flatnonzero(begins)


def sample_ends(table: pa.Table) -> Int[np.ndarray, " samples"]:
    """The row after the last one of every sample."""
    starts = sample_starts(table)
    return np.append(starts[1:], table.num_rows) if len(starts) else starts


def kept_rows(table: pa.Table) -> Iterator[list[dict[str, Any]]]:
    """Of every sample all rows, with the columns `OF_KEPT`; none where no text of it is kept."""
    starts = sample_starts(table)
    if not len(starts):
        return
    sizes = np.diff(starts, append=table.num_rows)
    kept = np.logical_or.reduceat(booleans(table["kept"]), starts)
    found = table.filter(pa.array(np.repeat(kept, sizes))).select(OF_KEPT)
    batches = found.to_batches(max_chunksize=ROWS_AT_A_TIME)
    rows = (row for batch in batches for row in batch.to_pylist())
    for size, is_kept in zip(sizes.tolist(), kept.tolist(), strict=True):
        yield [next(rows) for _ in range(size)] if is_kept else []


def count_table(table: pa.Table) -> Counts:
    """What became of the samples and texts of some rows, which hold whole samples."""
    counts = Counts()
    starts = sample_starts(table)
    if not len(starts):
        return counts
    kept = booleans(table["kept"])
    of = {name: booleans(pc.equal(table["source"], name)) for name in ("web", "synthetic", "bad")}
    any_kept, bad = np.logical_or.reduceat(kept, starts), of["bad"][starts]
    counts.images = len(starts)
    counts.images_bad = int(bad.sum())
    counts.images_kept = int((any_kept & ~bad).sum())
    counts.images_dropped = counts.images - counts.images_bad - counts.images_kept
    counts.web_kept = int((of["web"] & kept).sum())
    counts.web_dropped = int((of["web"] & ~kept).sum())
    counts.synthetic_kept = int((of["synthetic"] & kept).sum())
    counts.synthetic_dropped = int((of["synthetic"] & ~kept).sum())
    for entry in pc.value_counts(table["reason"]).to_pylist():
        counts.reasons[entry["values"]] += entry["counts"]
    return counts


def floats(table: pa.Table, name: str) -> Float[np.ndarray, " rows"]:
    """A column of numbers, NaN where a row has none."""
    return table[name].cast(pa.float64()).to_numpy()


def booleans(values: pa.Array | pa.ChunkedArray) -> Bool[np.ndarray, " rows"]:
    """Arrow's truth values as an array."""
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=bool)
