"""Which vectors lie nearest: exactly up to 100 000, beyond that in the cells of an IVF index.

Beyond `EXACT_ROWS`, vectors are grouped in about `2 sqrt(n)` cells by k-means (Jegou et al. 2011,
"Product quantization for nearest neighbor search", section V; the library is FAISS), each number
kept in 8 bits. A search looks into the `PROBES` cells nearest to the query, takes `WIDEN` times as
many rows as were asked for, and compares those by their stored vectors: cosines are always exact,
and only a neighbour in a cell that was not looked into can be missed.

Measured beside it on the vectors of benchmarks/index.py (50 000, one thread): an HNSW graph of 32
links over numbers of 8 bits has the same recall in the same time (0.92 in 0.15 ms), but takes four
times as long to build, and twice the memory.
"""

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float

from blip.errors import BlipError
from blip.files import write_atomically
from blip.installed import need
from blip.log import progress

EXACT_ROWS = 100_000
"""More vectors than these are searched in cells."""
PROBES = 256
"""Cells that a search looks into."""
WIDEN = 4
"""Candidates of the cells for each row that is asked for."""
TRAIN_PER_CELL = 64
"""Vectors for each cell from which k-means learns where the cells lie."""
SEED = 0

Block = tuple[np.ndarray, np.ndarray]
"""Numbers of rows, and their vectors `(rows, projection)` in float32."""
Found = tuple[np.ndarray, np.ndarray]
"""Cosines and numbers of rows, `(queries, k)` each; number -1 where there are no more."""


class Neighbours(Protocol):
    """Finds the rows whose vectors are nearest to some queries."""

    def search(self, queries: Float[np.ndarray, "queries projection"], k: int) -> Found:
        """The `k` nearest rows of each query, best first."""
        ...


def faiss() -> Any:
    """The library; raises UsageError that says how to install it."""
    return need("faiss", "FAISS", "index")


def needs_cells(rows: int) -> bool:
    """Whether an index of so many vectors is searched in cells."""
    return rows > EXACT_ROWS


class ExactNeighbours:
    """Compares a query with every vector, which lie in memory."""

    def __init__(self, projection: int, blocks: Iterable[Block]) -> None:
        self.index: Any = faiss().IndexFlatIP(projection)
        numbers = [np.empty(0, dtype=np.int64)]
        for of_rows, vectors in blocks:
            numbers.append(of_rows)
            self.index.add(np.ascontiguousarray(vectors))
        self.numbers = np.concatenate(numbers)

    def search(self, queries: np.ndarray, k: int) -> Found:
        """The `k` nearest rows of each query."""
        cosines, places = self.index.search(np.ascontiguousarray(queries), k)
        numbers = np.full(places.shape, -1, dtype=np.int64)
        numbers[places >= 0] = self.numbers[places[places >= 0]]
        return cosines, numbers


class Vectors(Protocol):
    """Where the vectors of rows are stored."""

    def vectors_of(self, numbers: np.ndarray) -> Float[np.ndarray, "rows projection"]:
        """The vectors of some rows, in float32."""
        ...


class CellNeighbours:
    """Looks into the cells nearest to a query, and compares what it finds there exactly."""

    def __init__(self, index: Any, stored: Vectors, probes: int = PROBES) -> None:
        self.index, self.stored = index, stored
        index.nprobe = min(probes, index.nlist)

    @classmethod
    def read(cls, path: Path, stored: Vectors) -> "CellNeighbours":
        """Open index.faiss; raises BlipError if it is damaged."""
        try:
            return cls(faiss().read_index(str(path)), stored)
        except RuntimeError as error:
            raise BlipError(
                f"{path} cannot be read; remove it, and run `blip index --out` of its folder again"
            ) from error

    def search(self, queries: np.ndarray, k: int) -> Found:
        """The `k` nearest rows of each query, as far as they lie in the cells."""
        _, candidates = self.index.search(np.ascontiguousarray(queries), k * WIDEN)
        cosines = np.full((len(queries), k), -np.inf, dtype=np.float32)
        numbers = np.full((len(queries), k), -1, dtype=np.int64)
        for place, (query, found) in enumerate(zip(queries, candidates, strict=True)):
            found = found[found >= 0]
            exact = self.stored.vectors_of(found) @ query
            best = np.lexsort((found, -exact))[:k]
            cosines[place, : len(best)], numbers[place, : len(best)] = exact[best], found[best]
        return cosines, numbers


def build_cells(projection: int, rows: int, blocks: Callable[[], Iterable[Block]]) -> Any:
    """The FAISS index of some blocks, which are read twice and hold `rows` vectors together."""
    library = faiss()
    cells = max(1, min(2 * math.isqrt(rows), rows // TRAIN_PER_CELL))
    index = library.index_factory(projection, f"IVF{cells},SQ8", library.METRIC_INNER_PRODUCT)
    index.cp.seed = SEED
    index.train(_sample(blocks(), rows, cells * TRAIN_PER_CELL))
    with progress(rows, "search structure", "vectors") as bar:
        for numbers, vectors in blocks():
            index.add_with_ids(np.ascontiguousarray(vectors), numbers)
            bar.advance(len(numbers))
    return index


def write_cells(path: Path, index: Any) -> None:
    """Write an index of `build_cells`; that of the same vectors is the same file."""
    write_atomically(path, faiss().serialize_index(index).tobytes())


def _sample(blocks: Iterable[Block], rows: int, size: int) -> np.ndarray:
    """Vectors of `size` rows, or of all where there are fewer, chosen at random by `SEED`."""
    generator = np.random.default_rng(SEED)
    chosen = np.zeros(rows, dtype=bool)
    chosen[generator.choice(rows, min(size, rows), replace=False)] = True
    taken, first = list[np.ndarray](), 0
    for _, vectors in blocks:
        taken.append(vectors[chosen[first : first + len(vectors)]])
        first += len(vectors)
    return np.concatenate(taken)
