"""Random access to the pairs of local shards, tables and folders, and the faults of the rest."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from blip.data.config import MAX_PIXELS
from blip.data.examples.usable import find_usable, note_bad
from blip.data.identity import Places
from blip.data.images import BadImageError, decode_image
from blip.data.readers.sources import find_sources, read_sources
from blip.data.sample import Sample
from blip.errors import UsageError


@dataclass(frozen=True, slots=True)
class Picture:
    """An image of the index: its bytes, small pictures compressed as they came."""

    content: bytes
    image_id: int


@dataclass(slots=True)
class PairIndex:
    """All sound (image, text) pairs of shards, tables and folders of pictures, in their order.

    Compressed image bytes are kept in memory, so that this is for sets of gigabytes, not terabytes.
    """

    pictures: list[Picture] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    picture_of_text: list[int] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    """One a picture."""
    bad: Counter[str] = field(default_factory=Counter)
    bad_samples: list[tuple[str, str, str]] = field(default_factory=list)
    """(shard, key, reason) of the first bad ones."""
    first_id: int = 0
    max_pixels: int = MAX_PIXELS
    """Pixels of the largest picture that is sound."""
    held_bytes: int = 0
    """Of all pictures, compressed as they came."""
    _ids: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.texts)

    @property
    def next_id(self) -> int:
        """The number of the next new image."""
        return self.first_id + len(self._ids)

    @classmethod
    def open(
        cls,
        patterns: Iterable[str],
        first_id: int = 0,
        max_pixels: int = MAX_PIXELS,
        most_bytes: int | None = None,
    ) -> "PairIndex":
        """Read all that patterns stand for through once; images are numbered from `first_id`.

        A picture is checked by decoding it here, so that training never meets a broken one. Raises
        UsageError where the pictures have more than `most_bytes` together: those of a table may lie
        outside it, so that its own size does not tell.
        """
        index = cls(first_id=first_id, max_pixels=max_pixels)
        found = find_sources(patterns)
        places = Places(found)
        for place, sample in read_sources(found):
            index._add(place, sample, places.identify(place, sample))
            if most_bytes is not None and index.held_bytes > most_bytes:
                raise UsageError(
                    f"the pictures of {place} are too large to be read into memory by data.stream "
                    f"auto, and only tars are streamed; `blip data pack {place} OUT` writes shards "
                    "of it, or data.stream never reads it into memory all the same"
                )
        return index

    def _add(self, shard: Path, sample: Sample, identity: str) -> None:
        texts, reason, lost = find_usable(sample)
        if reason is None and sample.image is not None:
            try:
                decode_image(sample.image, self.max_pixels)
            except BadImageError as bad:
                reason = str(bad)
        if fault := reason or lost:
            note_bad(self.bad, self.bad_samples, shard.name, sample.key, fault)
        if reason is not None or sample.image is None:
            return
        image_id = self._ids.setdefault(identity, self.next_id)
        self.pictures.append(Picture(sample.image, image_id))
        self.held_bytes += len(sample.image)
        self.keys.append(sample.key)
        self.texts += texts
        self.picture_of_text += [len(self.pictures) - 1] * len(texts)


def decode_small(content: bytes, size: int, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode and shrink to at most twice the wanted size, for a cache of pictures."""
    image = decode_image(content, max_pixels)
    if min(image.size) > 2 * size:
        scale = 2 * size / min(image.size)
        target = (round(image.width * scale), round(image.height * scale))
        image = image.resize(target, Image.Resampling.BICUBIC)
    return np.asarray(image)
