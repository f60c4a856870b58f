"""The pixels of a picture for training; pictures in memory are decoded once, as far as they fit."""

from collections.abc import Hashable
from typing import Any, final

import numpy as np
from PIL import Image

from blip.data.config import ImageConfig
from blip.data.images import decode_image
from blip.data.transforms import decode_train_pixels, eval_pixels, train_pixels

CACHE_BYTES = 2 << 30
"""Most memory for decoded pictures."""


@final
class TrainingPixels:
    """Decodes, crops and augments pictures as a configuration says."""

    def __init__(self, config: ImageConfig) -> None:
        self.config = config
        self.cache: dict[Hashable, np.ndarray] = {}
        self.cached_bytes = 0

    def make(self, content: bytes, cache_key: Hashable, rng: np.random.Generator) -> np.ndarray:
        """Pixels `(size, size, 3)` in uint8 from the bytes of a picture's file.

        A picture with a `cache_key` is decoded once, to at most twice the size that is needed; one
        whose key is None is decoded anew each time. Raises BadImageError.
        """
        if cache_key is None:
            return decode_train_pixels(content, self.config, rng)
        pixels = self._cached(content, cache_key)
        if self.config.plain:
            return pixels
        return train_pixels(Image.fromarray(pixels), self.config, rng)

    def _cached(self, content: bytes, cache_key: Hashable) -> np.ndarray:
        pixels = self.cache.get(cache_key)
        if pixels is None:
            pixels = self._decode(content)
            if self.cached_bytes + pixels.nbytes <= CACHE_BYTES:
                self.cache[cache_key] = pixels
                self.cached_bytes += pixels.nbytes
        return pixels

    def _decode(self, content: bytes) -> np.ndarray:
        size = self.config.size
        image = decode_image(content, self.config.max_pixels)
        if self.config.plain:
            return eval_pixels(image, size)
        if min(image.size) > 2 * size:
            scale = 2 * size / min(image.size)
            target = (round(image.width * scale), round(image.height * scale))
            image = image.resize(target, Image.Resampling.BICUBIC)
        return np.asarray(image)

    def __getstate__(self) -> dict[str, Any]:
        """What a worker needs; it fills a cache of its own."""
        return self.__dict__ | {"cache": {}, "cached_bytes": 0}
