"""Finds 64-bit hashes that differ from an earlier one in a few bits only."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Int, UInt

BITS = 64
MAX_PAIRS = 1 << 22
"""Pairs that are compared at a time; this bounds memory."""


def first_of_near(hashes: UInt[np.ndarray, " images"], bits: int) -> Bool[np.ndarray, " images"]:
    """Whether each hash is kept: unless an earlier kept one differs in at most `bits` bits.

    Exact: cut two hashes into `bits + 1` bands; if they differ in at most `bits` bits, one band is
    the same, so only hashes with a band in common are compared. With 0 bits that is a sort;
    otherwise the work grows with the square of the number of different hashes, divided by 2 to the
    power of the bits of a band.
    """
    kept = np.zeros(len(hashes), bool)
    different, firsts = np.unique(hashes, return_index=True)
    # A copy is dropped either way: with the first of its hash, or because of it.
    order = np.argsort(firsts)
    different, firsts = different[order], firsts[order]
    is_kept = np.ones(len(different), bool)
    if bits > 0:
        earlier, later = _near_pairs(different, bits)
        by_later = np.argsort(later, kind="stable")
        pairs = zip(earlier[by_later].tolist(), later[by_later].tolist(), strict=True)
        for first, second in pairs:
            if is_kept[first]:
                is_kept[second] = False
    kept[firsts[is_kept]] = True
    return kept


def _near_pairs(
    hashes: UInt[np.ndarray, " images"], bits: int
) -> tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"]]:
    """All pairs (earlier, later) that differ in at most `bits` bits; pairs may repeat."""
    found = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
    for band in _bands(hashes, bits + 1):
        for earlier, later in _alike(band):
            near = np.bitwise_count(hashes[earlier] ^ hashes[later]) <= bits
            found.append((earlier[near], later[near]))
    earlier, later = (np.concatenate(column) for column in zip(*found, strict=True))
    return earlier, later


def _bands(
    hashes: UInt[np.ndarray, " images"], count: int
) -> Iterator[UInt[np.ndarray, " images"]]:
    """The hashes cut into `count` bands of almost the same width."""
    edges = [BITS * number // count for number in range(count + 1)]
    for low, high in pairwise(edges):
        yield (hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)


def _alike(
    band: UInt[np.ndarray, " images"],
) -> Iterator[tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"]]]:
    """Pairs (earlier, later) with the same value, a few million at a time."""
    order = np.argsort(band, kind="stable")
    ordered = band[order]
    # For each place in the order: how many of the same value come before it.
    first = np.searchsorted(ordered, ordered, side="left")
    before = np.arange(len(band)) - first
    ends = np.cumsum(before)
    start = 0
    while start < len(band):
        taken = ends[start - 1] if start else 0
        stop = max(int(np.searchsorted(ends, taken + MAX_PAIRS, side="right")), start + 1)
        counts = before[start:stop]
        later = np.repeat(np.arange(start, stop), counts)
        offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        yield order[first[later] + offsets], order[later]
        start = stop
