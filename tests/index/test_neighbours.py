"""Cells find nearly what an exact search finds, with exact cosines, and always the same bytes."""

from pathlib import Path

import numpy as np
import pytest

from blip.errors import BlipError, UsageError
from blip.index.neighbours import (
    CellNeighbours,
    ExactNeighbours,
    build_cells,
    write_cells,
)

pytest.importorskip("faiss")


class Stored:
    def __init__(self, rows: int) -> None:
        generator = np.random.default_rng(0)
        centres = generator.normal(size=(40, 16))
        vectors = centres[generator.integers(40, size=rows)] + 0.4 * generator.normal(
            size=(rows, 16)
        )
        self.vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("float32")

    def vectors_of(self, numbers: np.ndarray) -> np.ndarray:
        return self.vectors[numbers]

    def blocks(self):
        for start in range(0, len(self.vectors), 700):
            block = self.vectors[start : start + 700]
            yield np.arange(start, start + len(block)), block


def test_exact_equals_brute_force() -> None:
    stored = Stored(500)
    queries = stored.vectors[:5]
    cosines, numbers = ExactNeighbours(16, stored.blocks()).search(queries, 10)
    every = queries @ stored.vectors.T
    np.testing.assert_array_equal(numbers, np.argsort(-every, axis=1)[:, :10])
    np.testing.assert_allclose(cosines, -np.sort(-every, axis=1)[:, :10], atol=1e-6)
    cosines, numbers = ExactNeighbours(16, []).search(queries, 3)
    assert (numbers == -1).all()


def test_cells(tmp_path: Path) -> None:
    stored = Stored(5000)
    index = build_cells(16, 5000, stored.blocks)
    for name in ("a", "b"):
        write_cells(tmp_path / name, build_cells(16, 5000, stored.blocks))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    queries = stored.vectors[::100]
    _, exact = ExactNeighbours(16, stored.blocks()).search(queries, 10)
    cosines, found = CellNeighbours(index, stored).search(queries, 10)
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact, found, strict=True)])
    assert recall > 0.95
    for query, row, numbers in zip(queries, cosines, found, strict=True):
        np.testing.assert_allclose(row, stored.vectors[numbers] @ query, atol=1e-6)
    read = CellNeighbours.read(tmp_path / "a", stored)
    np.testing.assert_array_equal(read.search(queries, 10)[1], found)
    (tmp_path / "a").write_bytes(b"nothing")
    with pytest.raises(BlipError, match="cannot be read; remove it"):
        CellNeighbours.read(tmp_path / "a", stored)


def test_without_the_library_one_line_says_what_to_install(monkeypatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UsageError, match=r"FAISS cannot|FAISS is not.*blip-capfilt\[index\]"):
        ExactNeighbours(4, [])
