"""How much memory and time a recut of a large ledger takes: `blip capfilt recut` by rows.

A ledger of random rows is made (two texts an image, scores between 0 and 1); a recut writes tables
of texts: by a threshold alone, and by a threshold and repeats over the whole job. Each cut runs in
a process of its own, whose peak memory is read. Run it as

    python benchmarks/recut.py --rows 2000000 8000000
"""

# Arrow makes its compute functions at run time, out of pyright's sight.
# pyright: reportAttributeAccessIssue=false

import argparse
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from benchmarks.machine import describe
from blip.capfilt.config import RecutConfig
from blip.capfilt.filters.config import JobRules
from blip.capfilt.ledger.files import GROUP_ROWS, SCHEMA, open_ledger
from blip.processes import most_memory

ROWS_A_FILE = 1 << 20
WORDS = ("a red square", "two dogs on a beach", "IMG", "best price sale", "a man riding a horse")
KINDS = {
    "threshold": JobRules(),
    "threshold and repeats": JobRules(unique_texts=True, max_repeats=1000),
    "threshold, repeats and images": JobRules(unique_texts=True, unique_images=0),
}


def make_group(rng: np.random.Generator, shard: str, first: int, rows: int) -> pa.Table:
    """A row group of `rows` rows: a web and a synthetic text of an image each, in turn."""
    images = np.arange(first, first + rows // 2)
    keys = pc.utf8_lpad(pa.array(np.repeat(images, 2)).cast(pa.string()), width=9, padding="0")
    words = pa.array(WORDS).take(pa.array(rng.integers(0, len(WORDS), rows)))
    # One text in twenty stands in the ledger before.
    numbers = pa.array(rng.integers(0, 20_000_000, rows)).cast(pa.string())
    itm = np.round(rng.random(rows), 6)
    hashes = np.repeat(rng.integers(0, 1 << 63, rows // 2, dtype=np.uint64), 2)
    columns = {
        "shard": pa.repeat(shard, rows),
        "key": keys,
        "source": pa.array(["web", "synthetic"]).take(pa.array(np.tile([0, 1], rows // 2))),
        "number": pa.array(np.zeros(rows, np.int32)),
        "text": pc.binary_join_element_wise(words, numbers, " "),
        "itm_score": pa.array(itm),
        "itc_cosine": pa.array(np.round(itm - 0.5, 6)),
        "kept": pa.array(itm >= 0.5),
        "reason": pc.if_else(pa.array(itm >= 0.5), "match", "below_threshold"),
        "captioner": pa.repeat("captioner", rows),
        "filter": pa.repeat("filter", rows),
        "seed": pa.array(np.zeros(rows, np.int64)),
        "width": pa.array(np.full(rows, 640, np.int32)),
        "height": pa.array(np.full(rows, 480, np.int32)),
        "image_hash": pa.array([f"{number:016x}" for number in hashes.tolist()]),
        "language": pa.nulls(rows, pa.string()),
        "repeats": pa.nulls(rows, pa.int32()),
        "error": pa.nulls(rows, pa.string()),
    }
    return pa.table(columns, schema=SCHEMA)


def make_ledger(folder: Path, rows: int) -> None:
    """A job's folder with a ledger of `rows` rows, and originals that hold nothing."""
    (folder / "web").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number, start in enumerate(range(0, rows, ROWS_A_FILE)):
        name = f"{number:05d}"
        (folder / "web" / f"{name}.tar").touch()
        with open_ledger(folder / "job/ledger" / f"{name}.parquet") as writer:
            stop = min(start + ROWS_A_FILE, rows)
            for first in range(start, stop, GROUP_ROWS):
                count = min(GROUP_ROWS, stop - first) // 2 * 2
                writer.write_group(make_group(rng, name, first // 2, count))


def cut(folder: Path, rules: JobRules, answer: Any) -> None:
    """Recut, and return the peak memory in bytes, the seconds, and the texts kept."""
    from blip.capfilt.recut import recut

    config = RecutConfig(
        ledger=str(folder / "job"),
        out=str(folder / "out"),
        data=(str(folder / "web"),),
        threshold=0.8,
        job_rules=rules,
        write="texts",
    )
    started = time.monotonic()
    summary = recut(config)
    seconds = time.monotonic() - started
    peak = most_memory() or 0
    answer.put((peak, seconds, summary.counts.texts_kept))


def measure(rows: int, kinds: Sequence[str], place: Path | None) -> None:
    """Make a ledger, cut it in some ways, print a line for each."""
    folder = Path(tempfile.mkdtemp(prefix="recut-", dir=place))
    try:
        started = time.monotonic()
        make_ledger(folder, rows)
        size = sum(path.stat().st_size for path in (folder / "job/ledger").iterdir())
        print(
            f"{rows:>12,} rows, {size / 1e9:.2f} GB, made in {time.monotonic() - started:.0f} s",
            flush=True,
        )
        context = multiprocessing.get_context("spawn")
        for kind in kinds:
            answer = context.Queue()
            process = context.Process(target=cut, args=(folder, KINDS[kind], answer))
            process.start()
            process.join()
            if process.exitcode != 0:
                raise SystemExit(f"{kind}: the process ended with {process.exitcode}")
            peak, seconds, kept = answer.get()
            print(
                f"{'':>12} {kind:<30} {peak / 2**30:6.2f} GiB  {seconds:7.1f} s  "
                f"{rows / seconds / 1e3:6.0f} thousand rows/s  {kept:,} kept",
                flush=True,
            )
            shutil.rmtree(folder / "out")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main(arguments: Sequence[str]) -> int:
    """Measure each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[2_000_000, 8_000_000])
    parser.add_argument("--kinds", nargs="+", choices=tuple(KINDS), default=list(KINDS))
    parser.add_argument("--place", type=Path, help="folder for the ledger (the system's)")
    args = parser.parse_args(arguments)
    machine = describe(torch.device("cpu"), torch.float32, ("pyarrow", "numpy"))
    print(", ".join(f"{machine[name]}" for name in ("commit", "machine", "date", "versions")))
    for rows in args.rows:
        measure(rows, args.kinds, args.place)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
