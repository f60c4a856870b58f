"""An index of a million made-up vectors: build, memory, seconds of a query, recall.

    python benchmarks/index.py [--rows 1000000] [--queries 200] [--small] [--save]

No model runs: the parts of an index are written with vectors of 256 numbers, drawn around centres
whose numbers of vectors fall as in Zipf's law, as pictures of a collection crowd in subjects. Then
the real code builds the structure for search, opens the index, and searches with new vectors drawn
in the same way, one at a time: the rows of the ten best with their texts, no ITM. Recall is the
share of the ten nearest by exact search that are found, for several numbers of cells looked into.
The peer is exact search by FAISS, one query at a time. Each stage runs in a process of its own, so
that its peak memory is its own. The last line is one JSON object.
"""

import argparse
import functools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import describe
from report import save
from rich.console import Console
from rich.table import Table

from blip.index import neighbours
from blip.index.build import finish
from blip.index.search import Index
from blip.index.store import (
    INDEXED,
    PART_ROWS,
    IndexedPlace,
    Part,
    Row,
    Settings,
    Store,
    part_name,
)
from blip.processes import most_memory

PROJECTION = 256
CENTRES = 10_000
NOISE = 1.0
"""Length of what is added to a centre, which has length 1: cosines of about 0.5 in a crowd."""
PLACE, MARK = "/made-up", "0"
K = 10
PROBES = (16, 64, 128, 256, 512)
EXACT_QUERIES = 20
"""Queries of which exact search is timed."""


def main() -> int:
    """Measure, print, write."""
    args = parse()
    # Few rows, to try it, are searched in cells as well.
    neighbours.EXACT_ROWS = min(neighbours.EXACT_ROWS, args.rows - 1)
    if args.stage:
        print(json.dumps(STAGES[args.stage](args)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        args.folder = Path(folder)
        # Only to try it, one process does all: their memory says nothing.
        run = (lambda stage: STAGES[stage](args)) if args.small else partial(run_stage, args=args)
        measured = {stage: run(stage) for stage in STAGES}
    result = {
        "rows": args.rows,
        "projection": PROJECTION,
        "queries": args.queries,
        **measured,
        "ratios": {"query_vs_exact": ratio(measured)},
        **describe(torch.device("cpu"), torch.float32, ("faiss-cpu", "numpy")),
    }
    console = Console(width=100, record=True)
    show(console, result)
    text = console.export_text(styles=False)
    line = json.dumps(result)
    print(line)
    if args.save:
        save(f"{text}\n{line}", "index.txt")
    return 0


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--small", action="store_true", help="few rows, to try it")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/index.txt")
    parser.add_argument("--stage", choices=list(STAGES), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.small:
        args.rows, args.queries = 4000, 20
    return args


def run_stage(stage: str, args: argparse.Namespace) -> dict[str, Any]:
    """What a stage measures, in a process of its own."""
    words = ["--stage", stage, "--folder", str(args.folder), "--rows", str(args.rows)]
    words += ["--queries", str(args.queries)]
    done = subprocess.run(
        [sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def write(args: argparse.Namespace) -> dict[str, Any]:
    """Write the parts of an index, as `blip index` would."""
    start = time.perf_counter()
    settings = Settings(checkpoint="none", fingerprint="none", projection=PROJECTION)
    place = IndexedPlace(location=PLACE, mark=MARK, rows=args.rows, indexed=args.rows, broken=0)
    store = Store(args.folder, settings, [place])
    for number, vectors in enumerate(draw_parts(args.rows)):
        first = number * PART_ROWS
        rows = [
            Row(f"{n:09d}", None, PLACE, n, (f"text of picture {n}",), None, INDEXED)
            for n in range(first, first + len(vectors))
        ]
        Part(args.folder, part_name(PLACE, MARK, number)).write(rows, vectors)
    store.write_settings()
    store.write_places()
    return measured_since(start)


def build(args: argparse.Namespace) -> dict[str, Any]:
    """Build the structure for search."""
    start = time.perf_counter()
    finish(Store.open(args.folder), [])
    size = sum(path.stat().st_size for path in args.folder.rglob("*") if path.is_file())
    structure = (args.folder / "index.faiss").stat().st_size
    return {
        **measured_since(start),
        "structure_megabytes": round(structure / 1e6, 1),
        "index_megabytes": round(size / 1e6, 1),
    }


def search(args: argparse.Namespace) -> dict[str, Any]:
    """Open the index and search it."""
    start = time.perf_counter()
    index = Index.open(args.folder)
    queries = draw_queries(args.queries)
    index.search_vector(queries[0], K)
    opened = measured_since(start)
    seconds = [time_of(lambda q=query: index.search_vector(q, K)) for query in queries]
    return {
        "seconds_to_open": opened["seconds"],
        "milliseconds": percentiles(seconds),
        "peak_megabytes": peak(),
    }


def recall(args: argparse.Namespace) -> dict[str, Any]:
    """Recall at 10 against exact search, and the seconds of either."""
    store = Store.open(args.folder)
    queries = draw_queries(args.queries)
    exact = neighbours.ExactNeighbours(PROJECTION, store.blocks())
    _, nearest = exact.search(queries, K)
    few = queries[:EXACT_QUERIES]
    alone = [time_of(lambda q=query: exact.search(q[None], K)) for query in few]
    by_probes = {}
    structure = neighbours.faiss().read_index(str(args.folder / "index.faiss"))
    for probes in PROBES:
        cells = neighbours.CellNeighbours(structure, store, probes)
        seconds, shares = [], []
        for query, truth in zip(queries, nearest, strict=True):
            start = time.perf_counter()
            _, found = cells.search(query[None], K)
            seconds.append(time.perf_counter() - start)
            shares.append(len(np.intersect1d(found, truth)) / min(K, len(truth)))
        by_probes[str(probes)] = {
            "recall_at_10": round(float(np.mean(shares)), 4),
            "milliseconds": percentiles(seconds),
        }
    return {
        "cells": structure.nlist,
        "probes": by_probes,
        "exact_milliseconds": percentiles(alone),
        "peak_megabytes": peak(),
    }


STAGES: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "write": write,
    "build": build,
    "search": search,
    "recall": recall,
}


def draw_parts(rows: int) -> Iterator[np.ndarray]:
    """Unit vectors, `PART_ROWS` at a time: float32."""
    for number, start in enumerate(range(0, rows, PART_ROWS)):
        yield draw(min(PART_ROWS, rows - start), seed=number)


def draw_queries(count: int) -> np.ndarray:
    """Unit vectors that are not among the rows."""
    return draw(count, seed=2**31)


def draw(count: int, seed: int) -> np.ndarray:
    """Unit vectors around the centres."""
    generator = np.random.default_rng([1, seed])
    sizes = 1 / np.arange(1, CENTRES + 1)
    chosen = generator.choice(CENTRES, count, p=sizes / sizes.sum())
    centres = np.stack([centre(int(number)) for number in chosen])
    noise = generator.normal(size=centres.shape) * (NOISE / PROJECTION**0.5)
    vectors = centres + noise
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@functools.cache
def centre(number: int) -> np.ndarray:
    """A direction."""
    vector = np.random.default_rng([0, number]).normal(size=PROJECTION)
    return vector / np.linalg.norm(vector)


def time_of(work: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def percentiles(seconds: list[float]) -> dict[str, float]:
    """In milliseconds."""
    return {
        name: round(float(np.percentile(seconds, share)) * 1e3, 2)
        for name, share in (("p50", 50), ("p99", 99))
    }


def peak() -> float:
    """Most memory of this process, in 10^6 bytes."""
    return round((most_memory() or 0) / 1e6, 1)


def measured_since(start: float) -> dict[str, Any]:
    """Seconds since `start`, and memory."""
    return {"seconds": round(time.perf_counter() - start, 2), "peak_megabytes": peak()}


def ratio(measured: dict[str, Any]) -> float:
    """How many times as fast a query is as an exact one, both without reading rows."""
    recall = measured["recall"]
    ours = recall["probes"][str(neighbours.PROBES)]["milliseconds"]["p50"]
    return round(recall["exact_milliseconds"]["p50"] / ours, 2)


def show(console: Console, result: dict[str, Any]) -> None:
    """The tables."""
    console.print(
        f"{result['date']}, commit {result['commit']}; {result['machine']}; "
        f"{result['threads']} threads\n{result['rows']} vectors of {PROJECTION}, "
        f"{result['recall']['cells']} cells",
        highlight=False,
    )
    stages = Table("stage", "seconds", "peak MB")
    for name in ("write", "build"):
        stages.add_row(name, str(result[name]["seconds"]), str(result[name]["peak_megabytes"]))
    searched = result["search"]
    stages.add_row("open", str(searched["seconds_to_open"]), str(searched["peak_megabytes"]))
    console.print(stages)
    table = Table("search", "recall@10", "p50 ms", "p99 ms")
    for probes, row in result["recall"]["probes"].items():
        table.add_row(
            f"{probes} cells", str(row["recall_at_10"]), *map(str, row["milliseconds"].values())
        )
    table.add_row("exact (peer)", "1.0", *map(str, result["recall"]["exact_milliseconds"].values()))
    table.add_row("with rows and texts", "", *map(str, searched["milliseconds"].values()))
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
