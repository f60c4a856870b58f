"""Searches an index by a text or a picture, and finds pictures that are nearly the same."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from blip.config.ranges import PrecisionChoice
from blip.data.config import MAX_PIXELS
from blip.data.sample import Sample
from blip.data.videos.read import FRAMES
from blip.errors import ArgumentError
from blip.files import status_of
from blip.index.build import Summary, add_places, refuse_other_model, remove_from
from blip.index.duplicates import THRESHOLD, Group, find_groups
from blip.index.fill import Computing
from blip.index.neighbours import (
    CellNeighbours,
    ExactNeighbours,
    Neighbours,
    faiss,
    needs_cells,
)
from blip.index.pictures import read_again, read_pictures, to_normalised
from blip.index.store import NEIGHBOURS, STATUS, NumberFormat, Row, Settings, Store
from blip.inference.checkpoint import fingerprint
from blip.inference.embedder import Embedder
from blip.inference.matcher import Matcher
from blip.inference.pixels import NormalisedImage, Picture
from blip.log import say

RESULTS = 10
RERANK = 20
"""Pictures of a text query whose order ITM decides."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A picture that a search found."""

    row: Row
    cosine: float
    """ITC: of its features and those of the query, -1 to 1."""
    probability: float | None = None
    """ITM: that it matches the text; None where it was not re-ranked."""


class Index:
    """An index of pictures and videos, open for searches (BLIP, section 3.2: ITC, then ITM).

    A video is found as a picture is, by the averaged features of its frames (section 5.6), and
    re-ranked on the tokens of all of them. `Index.build` makes one, `Index.open` opens it. One
    image is found once, even where several samples hold it.
    """

    def __init__(self, store: Store, checkpoint: str, computing: Computing) -> None:
        self.store, self.checkpoint, self.computing = store, checkpoint, computing
        self._seen = _mark(store.folder / STATUS)

    @classmethod
    def build(
        cls,
        places: Sequence[str],
        out: str | Path,
        checkpoint: str | Path,
        *,
        vectors: NumberFormat | None = None,
        frames: int | None = None,
        computing: Computing | None = None,
    ) -> "Index":
        """Make an index of all that `places` stand for, or add them; errors as `add_places`."""
        add_places(
            Path(out), places, checkpoint, vectors=vectors, frames=frames, computing=computing
        )
        return cls(Store.open(Path(out)), str(checkpoint), computing or Computing())

    @classmethod
    def open(
        cls,
        folder: str | Path,
        checkpoint: str | Path | None = None,
        *,
        device: torch.device | str = "cpu",
        precision: PrecisionChoice = "float32",
        max_pixels: int = MAX_PIXELS,
    ) -> "Index":
        """Open an index; the model is loaded when it is first needed.

        `checkpoint` is needed where it no longer lies where it lay when the index was made.
        Raises UsageError if `folder` holds no index.
        """
        store = Store.open(Path(folder))
        source = store.settings.checkpoint if checkpoint is None else str(checkpoint)
        computing = Computing(device=device, precision=precision, max_pixels=max_pixels)
        return cls(store, source, computing)

    @property
    def settings(self) -> Settings:
        """What config.json says."""
        return self.store.settings

    def __len__(self) -> int:
        """Pictures and videos that a search can find."""
        return self.store.indexed

    def add(self, places: Sequence[str]) -> Summary:
        """Add places, as `blip index` does."""
        folder = self.store.folder
        summary = add_places(folder, places, self.checkpoint, computing=self.computing)
        self._reopen()
        return summary

    def remove(self, places: Sequence[str] = (), keys: Sequence[str] = ()) -> Summary:
        """Remove places, and single pictures by their keys."""
        summary = remove_from(self.store.folder, places, keys)
        self._reopen()
        return summary

    def search(self, text: str, k: int = RESULTS, *, rerank: int = RERANK) -> list[Hit]:
        """The `k` pictures that match a text best.

        They are found by cosine (ITC); the best `rerank` of them are read again from where they
        lie, and ordered by the probability of a match (ITM). Pictures that are no longer there
        come after these. Raises UsageError if the checkpoint is not the one of the index.
        """
        _check(k)
        hits = self.search_vector(self.embedder.embed_texts([text])[0], max(k, rerank))
        return self._reranked(text, hits, rerank)[:k]

    def search_image(self, picture: Picture, k: int = RESULTS) -> list[Hit]:
        """The `k` pictures that are most like a picture, by cosine (ITC)."""
        _check(k)
        return self.search_vector(self.embedder.embed_images([picture])[0], k)

    def search_vector(self, vector: Float[np.ndarray, " projection"], k: int) -> list[Hit]:
        """The `k` pictures whose features have the largest cosine with a unit vector."""
        self._follow()
        wanted, query = min(k, len(self)), vector[None].astype(np.float32)
        seen: dict[tuple[str, str | int], Hit] = {}
        rows = wanted
        while rows > 0:
            cosines, numbers = self.neighbours.search(query, rows)
            found = zip((-cosines[0]).tolist(), numbers[0].tolist(), strict=True)
            # Among equal ones the first of the index comes first.
            for cosine, number in sorted(pair for pair in found if pair[1] >= 0):
                row = self.store.row(number)
                seen.setdefault(row.image, Hit(row, -cosine))
            if len(seen) >= wanted or rows >= len(self):
                break
            # Several rows show one image.
            rows = min(2 * rows, len(self))
        return list(seen.values())[:k]

    def duplicates(self, threshold: float = THRESHOLD) -> list[Group]:
        """Groups of pictures that are nearly the same, largest groups first; see `find_groups`."""
        self._follow()
        return find_groups(self.store, self.neighbours, threshold)

    def pictures(self, rows: Sequence[Row], *, side: int | None = None) -> list[Image.Image | None]:
        """The picture of each row, from where it lies; None where it is no longer there.

        Of a video, its middle frame. With `side`, shrunk to so many pixels on the longest side.
        """
        limit = self.computing.max_pixels
        return read_pictures(rows, limit, videos=self.store.with_videos, side=side)

    @cached_property
    def embedder(self) -> Embedder:
        """The model; raises UsageError if it is not the one of the index."""
        embedder = Embedder.load(
            self.checkpoint, self.computing.device, precision=self.computing.precision
        )
        mark = fingerprint(self.checkpoint)
        refuse_other_model(self.store.folder, self.settings, self.checkpoint, mark)
        embedder.frames = self.settings.frames or FRAMES
        return embedder

    @cached_property
    def neighbours(self) -> Neighbours:
        """What finds the nearest vectors; a large index that is unfinished is searched exactly."""
        faiss()
        store = self.store
        cells = store.folder / NEIGHBOURS
        is_whole = store.is_finished
        if not is_whole:
            say(f"{store.folder} is unfinished: run its `blip index` again for the rest")
        if needs_cells(len(self)) and is_whole and cells.exists():
            return CellNeighbours.read(cells, store)
        return ExactNeighbours(self.settings.projection, store.blocks())

    def _reranked(self, text: str, hits: list[Hit], rerank: int) -> list[Hit]:
        best, rest = hits[:rerank], hits[rerank:]
        size = self.embedder.model.config.vision.image_size

        matching = _Matching(self.embedder, text, self.computing.batch_size)

        def match(sample: Sample) -> int | None:
            limit = self.computing.max_pixels
            image = to_normalised(sample, size, self.settings.frames, limit)
            return None if image is None else matching.add(image)

        rows = [hit.row for hit in best]
        places = read_again(rows, match, videos=self.store.with_videos)
        found = matching.finish()
        scored = [
            replace(hit, probability=found[place])
            for hit, place in zip(best, places, strict=True)
            if place is not None
        ]
        scored.sort(key=lambda hit: (hit.probability, hit.cosine), reverse=True)
        without = [hit for hit, place in zip(best, places, strict=True) if place is None]
        return [*scored, *without, *rest]

    def _follow(self) -> None:
        """Open the index again where a run has changed and finished it since."""
        mark = _mark(self.store.folder / STATUS)
        if mark != self._seen:
            changed = Store.open(self.store.folder)
            self._seen = mark
            if changed.is_finished and changed.digest != self.store.digest:
                self._take(changed)

    def _reopen(self) -> None:
        self._take(Store.open(self.store.folder))

    def _take(self, store: Store) -> None:
        self.store = store
        self.__dict__.pop("neighbours", None)


class _Matching:
    """Pictures that come one by one, matched with a text in batches: few are held at a time."""

    def __init__(self, embedder: Embedder, text: str, batch_size: int) -> None:
        self.embedder, self.text, self.batch_size = embedder, text, batch_size
        self._waiting: list[NormalisedImage] = []
        self._found: list[float] = []

    def add(self, image: NormalisedImage) -> int:
        """Take a picture; its place among the probabilities."""
        self._waiting.append(image)
        place = len(self._found) + len(self._waiting) - 1
        if len(self._waiting) == self.batch_size:
            self.finish()
        return place

    def finish(self) -> list[float]:
        """The probabilities of all pictures so far."""
        if self._waiting:
            matcher = Matcher(self.embedder.model, self.embedder.tokenizer)
            texts = [[self.text]] * len(self._waiting)
            rows = matcher.probability(self._waiting, texts, batch_size=self.batch_size)
            self._found += [row[0] for row in rows]
            self._waiting = []
        return self._found


def _mark(path: Path) -> tuple[int, int] | None:
    """Number and time of a file, which another file in its place changes; None if there is none."""
    status = status_of(path)
    return None if status is None else (status.st_ino, status.st_mtime_ns)


def _check(k: int) -> None:
    if k < 1:
        raise ArgumentError(f"k must be positive, got {k}")


def rows_of(groups: Sequence[Group]) -> list[Row]:
    """The rows of all members of some groups."""
    return [member.row for group in groups for member in group]
