"""Images with all their true texts, to evaluate a model; bad ones are counted and named."""

from collections.abc import Iterable
from dataclasses import replace
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
from blip.data.faults import BadSamples, Fault
from blip.data.identity import Places
from blip.data.images import decode_image
from blip.data.keys import storable
from blip.data.readers.sources import Place, find_anywhere, read_sources
from blip.data.sample import Sample
from blip.data.transforms import eval_pixels, normalise

LOST = "texts_without_image"
WITHOUT_CAPTIONS = "images_without_captions"
NO_TEXT = ("missing_text", "empty_caption")
"""What is wrong with a sample whose picture alone may be sound."""


class _Silent:
    """Pictures without a text, each once, for as long as no other picture has one."""

    def __init__(self) -> None:
        self.samples: list[tuple[Place, Sample]] = []
        self.faults: list[Fault] = []
        self.contents = KeptPictures()
        self._known: set[str] = set()

    def add(self, shard: Place, sample: Sample, identity: str, fault: str) -> None:
        """Keep a sample; of an image that it holds, only its fault."""
        self.faults.append(Fault(Path(shard).name, sample.key, fault))
        if identity in self._known:
            return
        self._known.add(identity)
        assert sample.image is not None
        self.contents.append(sample.image)
        self.samples.append((shard, replace(sample, image=None)))


class EvaluationSet:
    """Images in the order of their shards, tables and folders, each with all its texts.

    Samples with the same identity show the same image, as in training: tables and CapFilt's
    outputs may have a sample for every text. An image is represented by its first sound
    picture. Compressed pictures are kept, in memory as far as `kept_pictures.MEMORY` goes.
    """

    frames = 1
    """Pictures of each image, as those of videos have several."""

    def __init__(
        self,
        shards: Iterable[str],
        image_size: int,
        *,
        most: int | None = None,
        max_pixels: int = MAX_PIXELS,
        need_text: bool = True,
    ) -> None:
        """Read all that `shards` name, up to the first sample of one image more than `most`.

        Tars, tables, annotation files and folders of pictures are read, as `blip data pack` does,
        and remote tars. Where no picture has a text, as in test sets whose captions a server keeps,
        all of them come with none, unless `need_text` is true; else one without a text is bad.
        Every picture is decoded once here, so that no broken one is met later. Raises UsageError
        if there are no shards, and BlipError if no picture in them can be used, or a remote
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
        silent = None if need_text else _Silent()
        self._read(find_anywhere(shards), most, silent)
        self._add_silent(silent)
        noun = "picture with a text" if need_text else "picture"
        say_left_out(self.bad, bool(self.keys), noun)

    def _read(self, shards: list[Place], most: int | None, silent: "_Silent | None") -> None:
        places, known = Places(shards), dict[str, int]()
        for shard, sample in read_sources(shards, need_text=silent is None):
            identity = places.identify(shard, sample)
            place = known.get(identity)
            if place is None and len(self.keys) == most:
                return
            found = find_usable(sample)
            if silent is not None and found.sample_fault in NO_TEXT and sample.image is not None:
                silent.add(shard, sample, identity, found.sample_fault)
                continue
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

    def _add_silent(self, silent: "_Silent | None") -> None:
        """Take pictures without a text where no other is there; else they are bad."""
        if silent is None:
            return
        if self.keys:
            self.bad.add(silent.faults)
            return
        for place, (shard, sample) in enumerate(silent.samples):
            content = silent.contents[place]
            fault = find_picture_fault(content, self.max_pixels)
            if fault is not None:
                self.bad.add([Fault(Path(shard).name, sample.key, fault)])
                continue
            self.keys.append(self._unique(shard, sample.key))
            self.texts.append([])
            self.metas.append(sample.meta)
            self.contents.append(content)

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
        """How much was read: `images` and `texts`, and of others `texts_without_image`.

        Where no image has a text, `images_without_captions` as well.
        """
        silent = {} if any(self.texts) else {WITHOUT_CAPTIONS: len(self)}
        return {"images": len(self), "texts": sum(map(len, self.texts)), **silent, **self.bad.lost}

    def images(self, start: int, stop: int) -> Float[Tensor, "images 3 size size"]:
        """Images `start` to `stop` (not included), ready for a model."""
        places = range(len(self))[start:stop]
        pixels = [eval_pixels(self.picture(place), self.image_size) for place in places]
        return normalise(np.stack(pixels))

    def picture(self, place: int) -> Image:
        """The picture of an image, as large as it is."""
        return decode_image(self.contents[place], self.max_pixels)
