"""Pairs of an image and a text: from a sample to an example, and to a batch for training."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from blip.data.captions import clean_caption
from blip.data.config import DataConfig
from blip.data.examples.pixels import TrainingPixels
from blip.data.examples.usable import check_picture, find_usable
from blip.data.sample import OrderedSample, Sample, Selected
from blip.data.tokenizer import Texts, Tokenizer
from blip.data.transforms import normalise
from blip.errors import UsageError


class Pair(NamedTuple):
    """An image and a text for it."""

    pixels: np.ndarray
    """`(size, size, 3)` uint8."""
    text: str
    """Cleaned, with the prompt before it."""
    image_id: int
    key: str


@dataclass(frozen=True, slots=True)
class PairBatch:
    """Images and a text for each."""

    images: Float[Tensor, "batch 3 height width"]
    texts: Texts
    image_ids: Int[Tensor, " batch"]
    """Equal for texts of the same image."""
    keys: tuple[str, ...]

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.images)

    def to(self, device: torch.device | str) -> "PairBatch":
        """The same batch on another device, except `texts.visible`.

        Every step reads the lengths of the texts from it, and would have to wait for a GPU.
        """
        return replace(
            self,
            images=self.images.to(device, non_blocking=True),
            texts=self.texts.send_ids(device),
            image_ids=self.image_ids.to(device, non_blocking=True),
        )

    def pin_memory(self) -> "PairBatch":
        """The same batch in pinned memory, from which `to` copies to a GPU without waiting.

        `torch.utils.data.DataLoader` calls it.
        """
        return replace(
            self,
            images=self.images.pin_memory(),
            texts=self.texts.pin_memory(),
            image_ids=self.image_ids.pin_memory(),
        )


@final
class PairExamples:
    """Every text of a sample makes a pair with its image."""

    noun = "pair"

    def __init__(self, config: DataConfig, tokenizer: Tokenizer) -> None:
        """Raises UsageError if the prompt leaves no room for a text."""
        prompt = len(tokenizer.encode_prompt(config.prompt))
        # Both ends of a text are counted.
        if prompt + 1 >= config.max_tokens:
            raise UsageError(
                f"`data.prompt` {config.prompt!r} has {prompt + 1} tokens with both ends; "
                f"`data.max_tokens` must be greater, got {config.max_tokens}"
            )
        self.config, self.tokenizer = config, tokenizer
        self.pixels = TrainingPixels(config.image)

    def select(self, sample: Sample) -> Selected:
        """The image of a sample and those of its texts that are not empty."""
        texts, reason, lost = find_usable(sample)
        if reason is not None:
            return Selected(None, 0, reason)
        return Selected(Sample(sample.key, sample.image, tuple(texts)), len(texts), lost)

    def check(self, sample: Sample) -> Selected:
        """As `select`, with the picture decoded."""
        return check_picture(self.select(sample), self.config.image.max_pixels)

    def make(self, ordered: OrderedSample, rng: np.random.Generator) -> Pair:
        """The image with the text that is due, or with one drawn. Raises BadImageError."""
        sample, number = ordered.sample, ordered.number
        if number is None:
            number = int(rng.integers(len(sample.texts)))
        assert sample.image is not None
        return Pair(
            pixels=self.pixels.make(sample.image, ordered.cache_key, rng),
            text=self.config.prompt + clean_caption(sample.texts[number]),
            image_id=ordered.image_id,
            key=sample.key,
        )

    def collate(self, examples: Sequence[Pair]) -> PairBatch:
        """Pixels normalised, texts as tokens, padded."""
        return PairBatch(
            images=normalise(np.stack([pair.pixels for pair in examples])),
            texts=self.tokenizer.encode([pair.text for pair in examples], self.config.max_tokens),
            image_ids=torch.tensor([pair.image_id for pair in examples]),
            keys=tuple(pair.key for pair in examples),
        )
