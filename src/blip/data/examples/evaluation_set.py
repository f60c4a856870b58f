"""Images with all their true texts, to evaluate a model; bad ones are counted and named."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL.Image import Image
from torch import Tensor

from blip.data.config import MAX_PIXELS
from blip.data.examples.kept_pictures import KeptPictures
from blip.data.examples.sound import is_sound, say_left_out
from blip.data.examples.usable import find_picture_fault, find_usable
from blip.data.faults import BadSamples
from blip.data.identity import Places
from blip.data.images import decode_image
from blip.data.keys import storable
from blip.data.readers.sources import Place, find_anywhere, read_sources
from blip.data.transforms import eval_pixels, normalise

LOST = "texts_without_image"


class EvaluationSet:
    """Images in the order of their shards, tables and folders, each with all its texts.

    Samples with the same identity show the same image, as in training: tables and CapFilt's
    outputs may have a sample for every text. An image is represented by its first sound
    picture. Compressed pictures are kept, in memory as far as `kept_pictures.MEMORY` goes.
    """

    def __init__(
        self,
        shards: Iterable[str],
        image_size: int,
        *,
        most: int | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        """Read all that `shards` name, up to the first sample of one image more than `most`.

        Tars, tables, annotation files and folders of pictures are read, as `blip data pack` does,
        and remote tars.
        Every picture is decoded once here, so that no broken one is met later. Raises UsageError
        where there are no shards, and BlipError where no picture in them can be used, or a remote
        tar cannot be fetched.
        """
        self.image_size, self.max_pixels = image_size, max_pixels
        self.keys: list[str] = []
        """One an image, no two alike: where a key repeats, its shard stands before it."""
        self.texts: list[list[str]] = []
        self.metas: list[dict[str, Any]] = []
        self.contents = KeptPictures()
        self._taken: set[str] = set()
        self.bad = BadSamples()
        self._read(find_anywhere(shards), most)
        say_left_out(self.bad, bool(self.keys), "picture with a text")

    def _read(self, shards: list[Place], most: int | None) -> None:
        places, known = Places(shards), dict[str, int]()
        for shard, sample in read_sources(shards):
            identity = places.identify(shard, sample)
            place = known.get(identity)
            if place is None and len(self.keys) == most:
                return
            found = find_usable(sample)
            find_fault = partial(self._find_fault, place=place)
            if not is_sound(shard, sample, found, find_fault, self.bad):
                self.bad.lose(LOST, len(found.sound))
                continue
            assert sample.image is not None
            if place is not None:
                self.texts[place] += found.sound
            else:
                known[identity] = len(self.keys)
                self.keys.append(self._unique(shard, sample.key))
                self.texts.append(found.sound)
                self.metas.append(sample.meta)
                self.contents.append(sample.image)

    def _find_fault(self, content: bytes, place: int | None) -> str | None:
        """What is wrong with a picture; that of image `place` is known to be sound."""
        if place is not None and content == self.contents[place]:
            return None
        return find_picture_fault(content, self.max_pixels)

    def _unique(self, shard: Place, key: str) -> str:
        path = Path(shard).absolute()
        parts = (*path.parent.parts, path.stem)
        # It goes into files and to terminals, which take no lone surrogates.
        depth, name = 0, storable(key)
        while name in self._taken and depth < len(parts):
            depth += 1
            name = storable("/".join((*parts[-depth:], key)))
        self._taken.add(name)
        return name

    def __len__(self) -> int:
        """Number of images."""
        return len(self.keys)

    def counts(self) -> dict[str, int]:
        """How much was read: `images` and `texts`, and of others `texts_without_image`."""
        return {"images": len(self), "texts": sum(map(len, self.texts)), **self.bad.lost}

    def images(self, start: int, stop: int) -> Float[Tensor, "images 3 size size"]:
        """Images `start` to `stop` (not included), ready for a model."""
        places = range(len(self))[start:stop]
        pixels = [eval_pixels(self.picture(place), self.image_size) for place in places]
        return normalise(np.stack(pixels))

    def picture(self, place: int) -> Image:
        """The picture of an image, as large as it is."""
        return decode_image(self.contents[place], self.max_pixels)
