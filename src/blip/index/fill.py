"""Reads places into an index: every picture becomes a vector and a row, part by part."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from blip.config.ranges import PrecisionChoice
from blip.data import texts
from blip.data.config import MAX_PIXELS
from blip.data.faults import BadSampleError, Fault
from blip.data.keys import storable
from blip.data.readers.open import find_kind
from blip.data.readers.remote import is_remote, on_disk
from blip.data.readers.video_places import shows_videos
from blip.data.sample import Sample
from blip.errors import BlipError, NotFiniteError
from blip.files import write_json
from blip.index.pictures import count_samples, mark_of, read_place, to_normalised
from blip.index.store import (
    BROKEN,
    INDEXED,
    STATUS,
    IndexedPlace,
    Part,
    Row,
    Store,
    part_name,
)
from blip.inference.base import BATCH_SIZE
from blip.inference.embedder import Embedder
from blip.inference.pixels import NormalisedImage
from blip.log import Progress, progress, say


@dataclass(frozen=True, kw_only=True, slots=True)
class Computing:
    """Where and how vectors are computed."""

    device: torch.device | str = "cpu"
    precision: PrecisionChoice = "float32"
    batch_size: int = BATCH_SIZE
    """Pictures, or frames of videos, that go through the model together."""
    max_pixels: int = MAX_PIXELS
    """Width times height of the largest picture or video that is read."""


Opened = tuple[Sample, NormalisedImage | None, str | None]
"""A sample, its pixels if it has a sound picture, and what is wrong with it."""
DECODERS = 4
"""Threads that decode; Pillow releases the interpreter lock meanwhile."""
MANY_TARS = 100
"""Of more tars than these the headers are not read only to say how many pictures there are."""


@dataclass(slots=True)
class Filling:
    """Adds places to a store."""

    store: Store
    embedder: Embedder
    computing: Computing
    lost: list[Fault] = field(default_factory=list)

    @property
    def videos(self) -> bool:
        """Whether the index takes videos as well."""
        return self.store.settings.frames is not None

    def add(self, locations: Sequence[str]) -> list[Fault]:
        """Add them; the places that could not be read."""
        write_json(self.store.folder / STATUS, {"state": "building", "places": len(locations)})
        count = _count(locations, videos=self.videos)
        unit = "samples" if self.videos else "pictures"
        with progress(count, "index", unit) as bar:
            for number, location in enumerate(locations, 1):
                try:
                    self._add_place(location, bar)
                except NotFiniteError:
                    # Of the model, not of the place.
                    raise
                except (BlipError, OSError) as error:
                    if isinstance(error, OSError) and error.filename != location:
                        raise
                    self.lost.append(Fault(location, "", f"unreadable: {error}"))
                    say(f"left out: {location}: {error}")
                bar.advance(0, places=f"{number}/{len(locations)}")
        return self.lost

    def _add_place(self, location: str, bar: Progress) -> None:
        mark = mark_of(location, videos=self.videos)
        known = {place.location: place for place in self.store.places}
        if location in known and known[location].mark == mark:
            bar.advance(known[location].rows)
            return
        with on_disk(location) as path:
            place = self._read(location, mark, path, bar)
        if location in known:
            self.store.places[self.store.places.index(known[location])] = place
        else:
            self.store.places.append(place)
        self.store.write_places()

    def _read(self, location: str, mark: str, path: Path, bar: Progress) -> IndexedPlace:
        """Write the parts of a place that are not there yet."""
        size = self.store.settings.part_rows
        states: list[str] = []
        while len(states) % size == 0:
            part = Part(self.store.folder, part_name(location, mark, len(states) // size))
            if not part.exists():
                break
            states += part.states().tolist()
        bar.advance(len(states))
        samples = iter(())
        if len(states) % size == 0:
            samples = read_place(path, len(states), videos=self.videos)
        while batch := self._rows(location, len(states), islice(samples, size), bar):
            rows, vectors = batch
            number = len(states) // size
            Part(self.store.folder, part_name(location, mark, number)).write(rows, vectors)
            states += [row.state for row in rows]
        return IndexedPlace(
            location=location,
            mark=mark,
            rows=len(states),
            indexed=states.count(INDEXED),
            broken=states.count(BROKEN),
            videos=self.videos and shows_videos(str(path)),
        )

    def _rows(
        self, location: str, first: int, samples: Iterator[Sample], bar: Progress
    ) -> tuple[list[Row], np.ndarray] | None:
        """A part: its rows and their vectors, zeros for broken pictures; None where it is empty."""
        rows: list[Row] = []

        def pictures() -> Iterator[NormalisedImage]:
            for sample, image, fault in self._open_all(samples):
                number = first + len(rows)
                rows.append(_row(sample, location, number, fault, sound=image is not None))
                if image is not None:
                    yield image

        parts, shown = [], 0
        for features in self.embedder.stream_images(
            pictures(), batch_size=self.computing.batch_size
        ):
            parts.append(features)
            bar.advance(len(rows) - shown)
            shown = len(rows)
        bar.advance(len(rows) - shown)
        if not rows:
            return None
        settings = self.store.settings
        vectors = np.zeros((len(rows), settings.projection), dtype=settings.vectors)
        if parts:
            sound = np.flatnonzero([row.state == INDEXED for row in rows])
            vectors[sound] = np.concatenate(parts)
        return rows, vectors

    def _open_all(self, samples: Iterator[Sample]) -> Iterator[Opened]:
        """The samples in their order; threads decode the next ones meanwhile."""
        waiting: deque[tuple[Future[Opened], int]] = deque()
        ahead, images = 2 * self.computing.batch_size, 0
        with ThreadPoolExecutor(DECODERS) as pool:
            for sample in samples:
                frames = 1 if sample.video is None else self.store.settings.frames or 1
                waiting.append((pool.submit(self._open, sample), frames))
                images += frames
                while images >= ahead:
                    opened, frames = waiting.popleft()
                    images -= frames
                    yield opened.result()
            while waiting:
                yield waiting.popleft()[0].result()

    def _open(self, sample: Sample) -> Opened:
        """The pixels of a sample, if it has a sound picture, and what is wrong with it."""
        if sample.image is None and sample.video is None:
            return sample, None, sample.error or "missing_image"
        # A picture needs no text to be found.
        fault = None if sample.error == texts.MISSING else sample.error
        size, frames = self.embedder.model.config.vision.image_size, self.store.settings.frames
        try:
            return sample, to_normalised(sample, size, frames, self.computing.max_pixels), fault
        except BadSampleError as error:
            return sample, None, fault or str(error)


def _row(sample: Sample, location: str, number: int, fault: str | None, *, sound: bool) -> Row:
    return Row(
        key=storable(sample.key),
        image_key=None if sample.image_key is None else storable(sample.image_key),
        place=storable(location),
        number=number,
        texts=tuple(map(storable, sample.texts)),
        fault=None if fault is None else storable(fault),
        state=INDEXED if sound else BROKEN,
    )


def _count(locations: Sequence[str], *, videos: bool) -> int | None:
    """How many samples some places hold; None where it takes long to find out."""
    tars = [place for place in locations if is_remote(place) or find_kind(Path(place)) != "table"]
    if len(tars) > MANY_TARS:
        return None
    counts = [count_samples(place, videos=videos) for place in locations]
    return None if None in counts else sum(count or 0 for count in counts)
