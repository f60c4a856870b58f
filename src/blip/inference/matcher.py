"""Pictures and texts in, scores out: the texts of a picture are matched against it together."""

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from blip.data.captions import clean_caption
from blip.data.tokenizer import Texts, Tokenizer
from blip.generation.config import CompileChoice
from blip.inference.base import (
    BATCH_SIZE,
    MAX_TOKENS,
    PaddedTexts,
    PictureEncoder,
    TextPredictor,
    not_finite,
)
from blip.inference.inputs import check_pictures, check_texts_of_pictures
from blip.inference.pixels import Picture, picture_name
from blip.inference.static_matching import PassPool
from blip.model.blip import Blip
from blip.nn.device import fetch
from blip.nn.kv import ImageKV
from blip.nn.mode import Mode

MAX_TEXTS = 16
"""Texts of a picture that are scored at a time; it bounds the memory that many texts take."""


class Scores(NamedTuple):
    """How well one text matches one picture."""

    probability: float
    """ITM: the probability that they match, 0 to 1."""
    cosine: float
    """ITC: the cosine of their features, -1 to 1."""


class TextMatcher(PictureEncoder):
    """What matches texts, cut to `max_tokens`, to pictures, batch by batch.

    Abstract: a subclass computes features, and reads texts with the keys and values of images.
    """

    max_tokens: int

    @abstractmethod
    def _project(self, states: Tensor) -> ImageKV:
        """Keys and values of images from their states."""

    @abstractmethod
    def _image_features(self, states: Tensor) -> Float[Tensor, "images projection"]: ...

    @abstractmethod
    def _text_features(self, texts: Texts) -> Float[Tensor, "texts projection"]: ...

    @abstractmethod
    def _match(self, kv: ImageKV, texts: Texts) -> Float[Tensor, " texts"]:
        """ITM probabilities; `texts` start with `[ENC]`, as many for each image."""

    def probability(
        self,
        images: Iterable[Picture],
        texts: Iterable[Iterable[str]],
        *,
        batch_size: int = BATCH_SIZE,
    ) -> list[list[float]]:
        """ITM probability of each text of each picture; arguments and errors as in `scores`."""
        rows = self._score(images, texts, batch_size, self._for_itm)
        return [[probability for (probability,) in row] for row in rows]

    def cosine(
        self,
        images: Iterable[Picture],
        texts: Iterable[Iterable[str]],
        *,
        batch_size: int = BATCH_SIZE,
    ) -> list[list[float]]:
        """ITC cosine of each text of each picture; arguments and errors as in `scores`."""
        rows = self._score(images, texts, batch_size, self._for_itc)
        return [[cosine for (cosine,) in row] for row in rows]

    def scores(
        self,
        images: Iterable[Picture],
        texts: Iterable[Iterable[str]],
        *,
        batch_size: int = BATCH_SIZE,
        allow_nan: bool = False,
    ) -> list[list[Scores]]:
        """Both scores of each text of each picture: `texts[i]` are the texts of `images[i]`.

        A picture is whatever `blip.read_image` takes, and may have any number of texts; at most
        `batch_size` pictures go through the model together. Texts are cleaned as in training and
        cut to `max_tokens`. One of which nothing is left is scored as the empty text, which says
        nothing: readers of data, and CapFilt, leave such texts out (`empty_text`).

        Raises ArgumentError (a ValueError) unless there is a list of texts for each picture,
        BadImageError for a picture that cannot be used and, unless `allow_nan` is true,
        NotFiniteError if a score is NaN or infinite.

        >>> import blip
        >>> matcher = blip.Matcher.load("runs/filter")
        >>> matcher.scores(["photo.jpg"], [["a dog on a beach"]])
        [[Scores(probability=0.97, cosine=0.41)]]
        """
        rows = self._score(images, texts, batch_size, self._for_both, allow_nan=allow_nan)
        return [[Scores(*pair) for pair in row] for row in rows]

    def begin_scores(
        self,
        images: Iterable[Picture],
        texts: Iterable[Iterable[str]],
        *,
        batch_size: int = BATCH_SIZE,
    ) -> Callable[[], list[list[Scores]]]:
        """Begin to compute `scores`, and return what gives them; some may be NaN.

        On a GPU the caller goes on while it computes, and waits where it asks for the scores.

        >>> matcher = blip.Matcher.load("runs/filter")
        >>> scores = matcher.begin_scores(["photo.jpg"], [["a dog on a beach"]])
        >>> scores()
        [[Scores(probability=0.97, cosine=0.41)]]
        """
        pictures = check_pictures(images)
        rows = check_texts_of_pictures("texts", texts, len(pictures))
        begun = list(self._begin(pictures, rows, batch_size, self._for_both))
        return lambda: [[Scores(*pair) for pair in row] for read in begun for row in read()]

    def _score(
        self,
        images: Iterable[Picture],
        texts: Iterable[Iterable[str]],
        batch_size: int,
        encode: Callable[[Tensor], "_ImagesToMatch"],
        *,
        allow_nan: bool = False,
    ) -> list[list[list[float]]]:
        pictures = check_pictures(images)
        rows = check_texts_of_pictures("texts", texts, len(pictures))
        scores: list[list[list[float]]] = []
        for read in self._begin(pictures, rows, batch_size, encode):
            for row in read():
                if not allow_nan:
                    name = picture_name(len(scores) + 1, pictures[len(scores)])
                    refuse_not_finite(name, row)
                scores.append(row)
        return scores

    def _begin(
        self,
        pictures: Sequence[Picture],
        texts: Sequence[Sequence[str]],
        batch_size: int,
        encode: Callable[[Tensor], "_ImagesToMatch"],
    ) -> Iterator[Callable[[], list[list[list[float]]]]]:
        """For each batch, whose scores the device may still compute, what reads them."""
        computed: list[Callable[[], Tensor]] = []

        def compute(images: "_ImagesToMatch", padded: PaddedTexts) -> list[_Place]:
            # Copied at once: whoever reads it waits for this batch, and for none begun later.
            computed.append(fetch(self._compute(images, padded)))
            part = len(computed) - 1
            return [_Place(part, row) for row, real in enumerate(padded.real) if real]

        for places in self._read_texts(
            pictures, texts, batch_size, encode, compute, texts_of_each=MAX_TEXTS
        ):
            yield partial(_read_back, computed.copy(), places)
            computed.clear()

    def _for_itm(self, states: Tensor) -> "_ImagesToMatch":
        return _ImagesToMatch(self._project(states), None)

    def _for_itc(self, states: Tensor) -> "_ImagesToMatch":
        return _ImagesToMatch(None, self._image_features(states))

    def _for_both(self, states: Tensor) -> "_ImagesToMatch":
        return _ImagesToMatch(self._project(states), self._image_features(states))

    def _compute(
        self, images: "_ImagesToMatch", padded: PaddedTexts
    ) -> Float[Tensor, "texts kinds"]:
        """The scores of each text, one of each kind for which `images` are encoded."""
        cleaned = [clean_caption(text) for text in padded.texts]
        texts = self.tokenizer.encode(cleaned, self.max_tokens).send_ids(self.device)
        columns: list[Tensor] = []
        if images.kv is not None:
            columns.append(self._match(images.kv, texts.start_with(self.tokenizer.enc_id)))
        if images.features is not None:
            columns.append(self._compare(images.features, texts))
        return torch.stack(columns, dim=1)

    def _compare(self, of_images: Tensor, texts: Texts) -> Tensor:
        of_texts = self._text_features(texts)
        copies = len(of_texts) // len(of_images)
        return (of_images.repeat_interleave(copies, dim=0) * of_texts).sum(dim=1)


class Matcher(TextMatcher, TextPredictor[Blip]):
    """Matches texts to pictures with a model's image-grounded encoder and unimodal encoders."""

    def __init__(self, model: Blip, tokenizer: Tokenizer, max_tokens: int = MAX_TOKENS) -> None:
        """Raises UsageError for a model that has no text encoder."""
        super().__init__(model, tokenizer, max_tokens)
        self._passes = PassPool(model)

    def compile(self, choice: CompileChoice, *, required: bool = False) -> None:
        """Choose how pictures and texts are read; scores are the same but for rounding.

        `on` fills batches up to a few sizes, has torch compile a pass for each, and on a GPU
        captures it as a CUDA graph: that takes minutes, and pays for many pictures. Where it does
        not work, a line says so and the model goes on, unless it is `required`: then scores raise
        CompileError. `off` compiles nothing, nor does `auto`, as at first, until captured passes
        have been measured on a GPU. With `on`, a matcher serves one thread at a time, and on a GPU
        the next call of `encode` replaces the states of the one before.

        Raises ArgumentError for another choice, and UsageError for `on` and a model in int8.
        """
        self._passes = PassPool(self.model, choice, required=required)

    @classmethod
    def _needs(cls) -> tuple[type[Blip], Mode]:
        return Blip, "bidirectional"

    def _encode_pixels(self, pixels: Tensor) -> Tensor:
        return self._passes.encode(pixels)

    def _project(self, states: Tensor) -> ImageKV:
        return self._passes.project_image(states)

    def _image_features(self, states: Tensor) -> Tensor:
        return self._passes.image_features(states)

    def _text_features(self, texts: Texts) -> Tensor:
        return self._passes.text_features(texts.ids, texts.visible)

    def _match(self, kv: ImageKV, texts: Texts) -> Tensor:
        return self._passes.match_probabilities(texts.ids, texts.visible, kv)


def refuse_not_finite(name: str, scores: Sequence[Sequence[float]]) -> None:
    """Raise NotFiniteError where a score of the picture called `name` is NaN or infinite."""
    if not all(math.isfinite(number) for row in scores for number in row):
        raise not_finite(name, "scores")


class _Place(NamedTuple):
    """Where the scores of a text are."""

    part: int
    """Of the tensors of a batch."""
    row: int


def _read_back(
    computed: Sequence[Callable[[], Tensor]], places: Sequence[Sequence[_Place]]
) -> list[list[list[float]]]:
    numbers = [part().tolist() for part in computed]
    return [[numbers[one.part][one.row] for one in row] for row in places]


@dataclass(frozen=True, slots=True)
class _ImagesToMatch:
    """What texts are matched against: keys and values for ITM, features for ITC, or both."""

    kv: ImageKV | None
    features: Float[Tensor, "images projection"] | None

    def __len__(self) -> int:
        known = self.features if self.kv is None else self.kv
        return 0 if known is None else len(known)

    def select(self, index: Int[Tensor, " selected"]) -> "_ImagesToMatch":
        return _ImagesToMatch(
            None if self.kv is None else self.kv.select(index),
            None if self.features is None else self.features.index_select(0, index),
        )
