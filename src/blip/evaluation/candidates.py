"""Which pairs of images and texts ITM scores: the best of ITC, of either direction."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

ROWS_AT_A_TIME = 1 << 14
"""Rows whose candidates are looked at together."""
VALUES_AT_A_TIME = 1 << 22
MOST_TIED = 4
"""How many times k candidates a row may have where many are equal."""
SCORES_AT_A_TIME = 1 << 24
"""Cosines that are computed at a time; memory does not grow with images times texts."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Columns chosen for each row; those of row `i` are `columns[starts[i] : starts[i + 1]]`."""

    starts: np.ndarray
    columns: np.ndarray

    def repeat(self, rows: np.ndarray) -> "Candidates":
        """The candidates of some rows, in that order; a row may come more than once."""
        counts = np.diff(self.starts)[rows]
        starts = _starts(counts)
        index = np.arange(starts[-1]) + np.repeat(self.starts[rows] - starts[:-1], counts)
        return Candidates(starts, self.columns[index])

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.starts) - 1

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """The candidates of some rows at a time: where they stand, and the row of each."""
        for start in range(0, len(self), ROWS_AT_A_TIME):
            starts = self.starts[start : start + ROWS_AT_A_TIME + 1]
            rows = np.arange(start, start + len(starts) - 1)
            yield slice(int(starts[0]), int(starts[-1])), np.repeat(rows, np.diff(starts))

    @property
    def rows(self) -> np.ndarray:
        """The row of each candidate."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of images and different texts, each once, by image and then by text."""

    images: int
    texts: int
    codes: np.ndarray
    """`image * texts + text` of every pair, ascending, int64."""

    @classmethod
    def from_both_directions(
        cls, of_images: Candidates, of_texts: Candidates, texts: int
    ) -> "Pairs":
        """The candidates of either direction; the columns of `of_images` are distinct texts."""
        codes = np.concatenate([of_images.rows, of_texts.columns], dtype=np.int64)
        codes *= texts
        codes[: len(of_images.columns)] += of_images.columns
        rest = codes[len(of_images.columns) :]
        for place, rows in of_texts.blocks():
            rest[place] += rows
        codes.sort()
        return cls(len(of_images), texts, _drop_repeats(codes))

    def slice_of(self, first: int, stop: int) -> slice:
        """Where the pairs of images `first` to `stop` (not included) stand."""
        start, end = np.searchsorted(self.codes, [first * self.texts, stop * self.texts])
        return slice(int(start), int(end))

    def texts_of(self, image: int) -> np.ndarray:
        """The texts with which an image is paired, ascending."""
        return self.codes[self.slice_of(image, image + 1)] - image * self.texts

    def find(self, images: np.ndarray, texts: np.ndarray) -> np.ndarray:
        """Where pairs stand that are among these."""
        return np.searchsorted(self.codes, images.astype(np.int64) * self.texts + texts)


def best_columns(
    rows: Float[Tensor, "rows projection"],
    columns: Float[Tensor, "columns projection"],
    k: int,
    repeat: Int[Tensor, " all_columns"] | None = None,
) -> Candidates:
    """The k columns of the highest cosine for each row, and what equals the last of them.

    `repeat` says which of `columns` each column is where several are the same. Of `columns` at most
    `MOST_TIED` times k are chosen, the first ones: where a model has collapsed all are equal.
    """
    width = len(columns) if repeat is None else len(repeat)
    size = max(1, SCORES_AT_A_TIME // width)
    counts = np.empty(len(rows), dtype=np.int64)
    # Many small arrays, each kept between large ones that go, would scatter the memory.
    chosen, found = np.empty(len(rows) * min(k, width), dtype=np.int32), 0
    for start in range(0, len(rows), size):
        scores = rows[start : start + size] @ columns.T
        scores.nan_to_num_(nan=-torch.inf)
        every = scores if repeat is None else scores[:, repeat]
        least = every.topk(min(k, width), dim=1).values[:, -1:]
        is_best = _drop_ties(scores, least, MOST_TIED * k)
        is_best = is_best if repeat is None else is_best[:, repeat]
        counts[start : start + size] = is_best.sum(dim=1).cpu().numpy()
        best = is_best.nonzero()[:, 1].cpu().numpy()
        if found + len(best) > len(chosen):
            chosen = np.concatenate([chosen, np.empty(len(chosen) + len(best), dtype=np.int32)])
        chosen[found : found + len(best)] = best
        found += len(best)
    return Candidates(_starts(counts), chosen[:found])


def _drop_ties(
    scores: Float[Tensor, "rows columns"], least: Float[Tensor, "rows 1"], most: int
) -> Bool[Tensor, "rows columns"]:
    """Which scores are at least `least`; of those that equal it the first ones, `most` in all."""
    is_best = scores >= least
    for row in (is_best.sum(dim=1) > most).nonzero()[:, 0].tolist():
        above = scores[row] > least[row]
        tied = is_best[row] & ~above
        is_best[row] = above | (tied & (tied.cumsum(0) <= most - above.sum()))
    return is_best


def _drop_repeats(values: np.ndarray) -> np.ndarray:
    """Ascending values, each once; in their memory, as there may be a hundred million."""
    kept = 0
    for start in range(0, len(values), VALUES_AT_A_TIME):
        part = values[start : start + VALUES_AT_A_TIME]
        is_new = np.ones(len(part), dtype=bool)
        np.not_equal(part[1:], part[:-1], out=is_new[1:])
        is_new[0] = kept == 0 or part[0] != values[kept - 1]
        new = part[is_new]
        values[kept : kept + len(new)] = new
        kept += len(new)
    values.resize(kept, refcheck=False)
    return values


def _starts(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
