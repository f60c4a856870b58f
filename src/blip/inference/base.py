"""What all predictors share: they open a checkpoint and encode pictures in batches, each once."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Generic, Protocol, Self, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from blip.config.ranges import PrecisionChoice
from blip.data.tokenizer import Tokenizer
from blip.data.videos.read import FRAMES
from blip.errors import NotFiniteError, UsageError
from blip.inference.checkpoint import load_model, precision_or_dtype
from blip.inference.inputs import check_batch_size
from blip.inference.pixels import Picture, count_frames, picture_name, to_pixels
from blip.model.config import ModelConfig
from blip.model.make import Model
from blip.nn.device import send
from blip.nn.kernels.packed_weight import pack_weights
from blip.nn.mode import Mode

BATCH_SIZE = 32
"""Pictures that go through a model together."""
MAX_TOKENS = 35
"""Tokens to which texts are cut that are matched, embedded or asked, as the release cuts them."""

ModelKind = TypeVar("ModelKind", bound=Model)
Item = TypeVar("Item")
Result = TypeVar("Result")


class EncodedImages(Protocol):
    """What a model keeps of some pictures while it reads texts about them."""

    def __len__(self) -> int:
        """Number of pictures."""
        ...

    def select(self, index: Int[Tensor, " selected"]) -> Self:
        """Those of the pictures `index`."""
        ...


Encoded = TypeVar("Encoded", bound=EncodedImages)


@dataclass(frozen=True, slots=True)
class PaddedTexts:
    """As many texts for each picture, picture after picture."""

    texts: list[str]
    real: list[bool]
    """False for the empty texts, the shortest that there are, which fill up a picture's row."""


class PictureEncoder(ABC):
    """Encodes pictures in batches, each once, whatever computes their states.

    Abstract: a `Predictor` has a model in torch; one that was exported runs in another library.
    """

    frames: int = FRAMES
    """Evenly spaced frames that are read of a video which is given by its path."""
    tokenizer: Tokenizer

    @property
    @abstractmethod
    def config(self) -> ModelConfig:
        """Sizes of the model."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the model takes pixels and token ids."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """The number format in which the model takes pixels."""

    @abstractmethod
    def _encode_pixels(
        self, pixels: Float[Tensor, "pictures *frames 3 height width_pixels"]
    ) -> Float[Tensor, "pictures tokens width"]: ...

    @torch.inference_mode()
    def encode(
        self, pictures: Sequence[Picture], first: int = 0, *, names: Sequence[str] | None = None
    ) -> Float[Tensor, "pictures tokens width"]:
        """States of the class token and of every patch of some pictures, in one pass.

        Of videos, which must all have as many frames, those of all frames. Errors name a picture as
        in `names`, or by its place after `first`. Raises what `to_pixels` raises.
        """
        size = self.config.vision.image_size
        pixels = to_pixels(
            pictures, size, self.device, self.dtype, first=first, names=names, frames=self.frames
        )
        return self._encode_pixels(pixels)

    def _parts(self, pictures: Sequence[Picture], batch_size: int) -> list[range]:
        """What goes through the model together: at most `batch_size` pictures or frames, alike.

        Pictures, or videos of the same number of frames, that follow each other; one video at
        least.
        """
        check_batch_size(batch_size)
        parts, start = list[range](), 0
        counts = [count_frames(picture, self.frames) for picture in pictures]
        for frames, alike in groupby(counts):
            stop = start + len(list(alike))
            size = max(1, batch_size // max(frames, 1))
            parts += [range(one, min(one + size, stop)) for one in range(start, stop, size)]
            start = stop
        return parts

    def _name_picture(
        self, error: NotFiniteError, pictures: Sequence[Picture], first: int
    ) -> NotFiniteError:
        """The error, with the first of `pictures` of which the model sees nothing finite.

        Where it sees them all, the decoder failed, and all are named. `first` went before them.
        """
        odd = [n for n, of in enumerate(self.encode(pictures, first)) if not of.isfinite().all()]
        if odd or len(pictures) == 1:
            place = odd[0] if odd else 0
            name = picture_name(first + 1 + place, pictures[place])
        else:
            name = f"pictures {first + 1} to {first + len(pictures)}"
        return NotFiniteError(f"{name}: {error}")

    def _read_texts(
        self,
        pictures: Sequence[Picture],
        texts: Sequence[Sequence[str]],
        batch_size: int,
        encode: Callable[[Tensor], Encoded],
        read: Callable[[Encoded, PaddedTexts], Sequence[Result]],
        texts_of_each: int,
    ) -> Iterator[list[list[Result]]]:
        """One result for each of the texts of each picture, batch of pictures by batch.

        Each picture is encoded once: `encode` takes the states of a batch `(pictures, tokens,
        width)`. The rest is as in `_read_batches`.
        """

        def encode_some(start: int, stop: int) -> Encoded:
            return encode(self.encode(pictures[start:stop], start))

        parts = self._parts(pictures, batch_size)
        return self._read_batches(texts, parts, encode_some, read, texts_of_each)

    @torch.inference_mode()
    def _read_batches(
        self,
        texts: Sequence[Sequence[str]],
        parts: Iterable[range],
        encode: Callable[[int, int], Encoded],
        read: Callable[[Encoded, PaddedTexts], Sequence[Result]],
        texts_of_each: int,
    ) -> Iterator[list[list[Result]]]:
        """One result for each of the texts of each picture, or pair of them, part by part.

        `encode` takes the first and the last (not included) of the pictures of a batch. `read` gets
        what it returned and at most `texts_of_each` texts of each of these pictures, and returns a
        result for each real text. Pictures without texts are not encoded where a whole batch has
        none.
        """
        for part in parts:
            start = part.start
            rows = texts[start : part.stop]
            results: list[list[Result]] = [[] for _ in rows]
            most = max(map(len, rows))
            if most > 0:
                encoded = encode(start, start + len(rows))
                waiting = list(range(len(rows)))
                for first in range(0, most, texts_of_each):
                    longer = [row for row in waiting if len(rows[row]) > first]
                    if most > texts_of_each and len(longer) < len(waiting):
                        index = torch.tensor([waiting.index(row) for row in longer])
                        encoded = encoded.select(send(index, self.device))
                        waiting = longer
                    some = [rows[row][first : first + texts_of_each] for row in waiting]
                    found = iter(read(encoded, _pad(some)))
                    for row, of_row in zip(waiting, some, strict=True):
                        results[row] += islice(found, len(of_row))
            yield results


class Predictor(PictureEncoder, Generic[ModelKind]):
    """A model in evaluation mode and its tokenizer.

    Abstract: `Captioner` and those of `TextPredictor` say what they compute.
    """

    def __init__(self, model: ModelKind, tokenizer: Tokenizer) -> None:
        """Raises UsageError for a model that lacks the encoder or decoder that this needs."""
        _, mode = self._needs()
        model.require(mode)
        self.model: ModelKind = model
        model.eval()
        pack_weights(model)
        self.tokenizer = tokenizer

    @property
    def config(self) -> ModelConfig:
        """Sizes of the model."""
        return self.model.config

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """The number format of the model."""
        return self.model.dtype

    @classmethod
    @abstractmethod
    def _needs(cls) -> tuple[type[ModelKind], Mode]:
        """The kind of model, and the mode in which its text transformer runs."""

    @classmethod
    def load(
        cls,
        source: str | Path,
        device: torch.device | str = "cpu",
        *,
        precision: PrecisionChoice | torch.dtype = "float32",
        dtype: torch.dtype | None = None,
    ) -> Self:
        """Open the checkpoint `source`; arguments and errors are those of `blip.load`.

        Raises UsageError, too, for a model that cannot do the work.
        """
        kind, _ = cls._needs()
        precision = precision_or_dtype(precision, dtype)
        loaded = load_model(source, device, of=kind, precision=precision)
        try:
            return cls(loaded.model, loaded.tokenizer)
        except UsageError as error:
            raise UsageError(f"{source}: {error}") from error

    def _encode_pixels(
        self, pixels: Float[Tensor, "pictures *frames 3 height width_pixels"]
    ) -> Float[Tensor, "pictures tokens width"]:
        return self.model.encode_pixels(pixels)


class TextPredictor(Predictor[ModelKind]):
    """A predictor that reads texts, cut to `max_tokens`.

    Abstract: `Matcher`, `Answerer`, `Comparer` and `Embedder` say what they compute of them.
    """

    def __init__(
        self, model: ModelKind, tokenizer: Tokenizer, max_tokens: int = MAX_TOKENS
    ) -> None:
        super().__init__(model, tokenizer)
        self.max_tokens = min(max_tokens, model.config.text.positions)


def batches(items: Iterable[Item], batch_size: int) -> Iterator[list[Item]]:
    """Lists of at most `batch_size` items; the next ones are taken when they are needed."""
    rest = iter(items)
    while batch := list(islice(rest, batch_size)):
        yield batch


def not_finite(name: str, what: str) -> NotFiniteError:
    """The error about a picture or text for which a model gives NaN or infinite numbers."""
    return NotFiniteError(
        f"{name}: the model's {what} are NaN or infinite: its weights are broken, or its values "
        "overflow (try precision float32)"
    )


@contextmanager
def naming_batch(first: str) -> Iterator[None]:
    """Let a NotFiniteError, which counts the pictures of one call, say with which it began."""
    try:
        yield
    except NotFiniteError as error:
        raise NotFiniteError(f"in the batch that begins with {first}: {error}") from error


def _pad(rows: Sequence[Sequence[str]]) -> PaddedTexts:
    most = max(map(len, rows))
    return PaddedTexts(
        [text for row in rows for text in [*row, *[""] * (most - len(row))]],
        [place < len(row) for row in rows for place in range(most)],
    )
