"""Pictures and texts in, features out: the unit vectors that ITC compares."""

from collections.abc import Iterable, Iterator
from itertools import groupby

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from blip.data.captions import clean_caption
from blip.data.tokenizer import Tokenizer
from blip.generation.config import CompileChoice
from blip.inference.base import BATCH_SIZE, MAX_TOKENS, TextPredictor, batches, not_finite
from blip.inference.inputs import check_batch_size, check_texts, iterate_pictures, iterate_texts
from blip.inference.pixels import Picture, count_frames, picture_name
from blip.inference.static_matching import PassPool
from blip.model.blip import Blip
from blip.nn.mode import Mode

Features = Float32[np.ndarray, "rows projection"]
"""Unit vectors on the CPU: float32, one row a picture or text, C-contiguous."""


class Embedder(TextPredictor[Blip]):
    """Embeds pictures and texts with a model's unimodal encoders (BLIP, section 3.2, ITC).

    The inner product of a picture's and a text's features is the cosine that `Matcher` gives:
    `embed_images(images) @ embed_texts(texts).T` is `(images, texts)`. Features of the same model
    alone can be compared, `projection` numbers each.

    >>> import blip
    >>> embedder = blip.Embedder.load("runs/filter")
    >>> embedder.embed_images(["photo.jpg"]) @ embedder.embed_texts(["a dog"]).T
    array([[0.41]], dtype=float32)
    """

    def __init__(self, model: Blip, tokenizer: Tokenizer, max_tokens: int = MAX_TOKENS) -> None:
        """Raises UsageError for a model that has no text encoder."""
        super().__init__(model, tokenizer, max_tokens)
        self._passes = PassPool(model)

    @classmethod
    def _needs(cls) -> tuple[type[Blip], Mode]:
        return Blip, "bidirectional"

    def compile(self, choice: CompileChoice) -> None:
        """Choose how pictures and texts are encoded, as in `Matcher.compile`."""
        self._passes = PassPool(self.model, choice)

    @property
    def projection(self) -> int:
        """Numbers in the features of a picture or text."""
        return self.model.config.projection

    def embed_images(
        self, images: Iterable[Picture], *, batch_size: int = BATCH_SIZE
    ) -> Float32[np.ndarray, "images projection"]:
        """Features of each picture; arguments and errors are those of `stream_images`."""
        return self._join(self.stream_images(images, batch_size=batch_size))

    def embed_texts(
        self, texts: Iterable[str], *, batch_size: int = BATCH_SIZE
    ) -> Float32[np.ndarray, "texts projection"]:
        """Features of each text; arguments and errors are those of `stream_texts`."""
        return self._join(self.stream_texts(texts, batch_size=batch_size))

    def stream_images(
        self, images: Iterable[Picture], *, batch_size: int = BATCH_SIZE
    ) -> Iterator[Float32[np.ndarray, "batch projection"]]:
        """Features of each picture, batch by batch: for more pictures than memory holds.

        A picture is whatever `blip.read_image` takes. `images` may be any iterable, a generator
        that opens one picture after another, too: `batch_size` pictures are taken from it, go
        through the model together and are released before the next ones are taken.

        Raises ArgumentError (a ValueError) for a single picture in place of an iterable of
        pictures, BadImageError for a picture that cannot be used, and NotFiniteError if the
        model gives NaN or infinite features; errors name the picture.
        """
        check_batch_size(batch_size)
        return self._stream_images(iterate_pictures(images), batch_size)

    def stream_texts(
        self, texts: Iterable[str], *, batch_size: int = BATCH_SIZE
    ) -> Iterator[Float32[np.ndarray, "batch projection"]]:
        """Features of each text, batch by batch; texts are taken as pictures in `stream_images`.

        Texts are cleaned as in training and cut to `max_tokens`. One of which nothing is left has
        the features of the empty text, which say nothing: readers of data leave such texts out.
        Raises ArgumentError (a ValueError) for a single text in place of an iterable of texts and
        for what is not a text, and NotFiniteError if the model gives NaN or infinite features.
        """
        check_batch_size(batch_size)
        return self._stream_texts(iterate_texts("texts", texts), batch_size)

    def _encode_pixels(self, pixels: Tensor) -> Tensor:
        return self._passes.encode(pixels)

    def _stream_images(self, images: Iterator[Picture], batch_size: int) -> Iterator[Features]:
        first = 0
        for pictures in self._alike(images, batch_size):
            with torch.inference_mode():
                features = self._passes.image_features(self.encode(pictures, first))
            names = (picture_name(first + n, image) for n, image in enumerate(pictures, 1))
            yield _to_numpy(features, names)
            first += len(pictures)

    def _alike(self, images: Iterator[Picture], batch_size: int) -> Iterator[list[Picture]]:
        """Batches of pictures, or of videos of the same number of frames."""
        for frames, some in groupby(images, lambda image: count_frames(image, self.frames)):
            yield from batches(some, max(1, batch_size // max(frames, 1)))

    def _stream_texts(self, texts: Iterator[str], batch_size: int) -> Iterator[Features]:
        first = 0
        for batch in batches(texts, batch_size):
            cleaned = [clean_caption(text) for text in check_texts("texts", batch)]
            encoded = self.tokenizer.encode(cleaned, self.max_tokens).send_ids(self.model.device)
            with torch.inference_mode():
                features = self._passes.text_features(encoded.ids, encoded.visible)
            yield _to_numpy(features, (f"text {first + n}" for n in range(1, len(batch) + 1)))
            first += len(batch)

    def _join(self, parts: Iterable[Features]) -> Features:
        empty = np.empty((0, self.projection), dtype=np.float32)
        return np.concatenate([empty, *parts])


def _to_numpy(features: Tensor, names: Iterable[str]) -> Features:
    """On the CPU, in float32; raises NotFiniteError that names the first row with NaN."""
    array = features.float().cpu().numpy()
    for name, row in zip(names, array, strict=True):
        if not np.isfinite(row).all():
            raise not_finite(name, "features")
    return array
