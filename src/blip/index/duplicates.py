"""Groups of pictures whose features are nearly the same."""

from dataclasses import dataclass

import numpy as np

from blip.index.neighbours import Neighbours
from blip.index.store import Row, Store
from blip.log import progress

THRESHOLD = 0.95
NEAREST = 32
"""Neighbours of each picture that are looked at; larger groups hang together by their members."""
QUERIES = 256
"""Pictures that are compared together."""


@dataclass(frozen=True, slots=True)
class Member:
    """A picture of a group."""

    row: Row
    cosine: float
    """With the first picture of the group; 1 for that one."""


Group = list[Member]


def find_groups(store: Store, neighbours: Neighbours, threshold: float = THRESHOLD) -> list[Group]:
    """Groups of two and more pictures, linked by cosines of at least `threshold`.

    The largest groups come first, and each in the order of the index. Several rows of one image
    count as one picture. In an index that is searched in cells, a pair can be missed.
    """
    parents: dict[int, int] = {}

    def root(number: int) -> int:
        while parents.setdefault(number, number) != number:
            parents[number] = number = parents[parents[number]]
        return number

    with progress(store.indexed, "duplicates", "pictures") as bar:
        for numbers, vectors in store.blocks():
            for start in range(0, len(numbers), QUERIES):
                queries = numbers[start : start + QUERIES]
                cosines, found = neighbours.search(
                    vectors[start : start + QUERIES], min(NEAREST, store.indexed)
                )
                near = (cosines >= threshold) & (found >= 0) & (found != queries[:, None])
                for place, column in np.argwhere(near):
                    one, other = root(int(queries[place])), root(int(found[place, column]))
                    parents[max(one, other)] = min(one, other)
                bar.advance(len(queries))
    members: dict[int, list[int]] = {}
    for number in sorted(parents):
        members.setdefault(root(number), []).append(number)
    groups = [_group(store, numbers) for numbers in members.values()]
    return sorted((g for g in groups if len(g) > 1), key=lambda group: -len(group))


def _group(store: Store, numbers: list[int]) -> Group:
    """The different images among some rows, with their cosine with the first."""
    vectors = store.vectors_of(np.array(numbers))
    cosines = vectors @ vectors[0]
    seen: dict[tuple[str, str | int], Member] = {}
    for number, cosine in zip(numbers, cosines.tolist(), strict=True):
        row = store.row(number)
        seen.setdefault(row.image, Member(row, min(cosine, 1.0)))
    return list(seen.values())
