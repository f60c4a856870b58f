"""Pictures in, captions out."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from blip.data.tokenizer import Tokenizer
from blip.errors import ArgumentError
from blip.generation.config import DecodingConfig
from blip.inference.checkpoint import load_model
from blip.inference.decoding import decode_texts, rows_of_each, start_of_text
from blip.inference.inputs import check_batch_size, check_pictures
from blip.inference.likelihood import Likelihood, log_likelihoods
from blip.inference.pixels import Picture, to_pixels
from blip.model.blip import Blip
from blip.nn.kernels.packed_weight import pack_weights
from blip.nn.kv import ImageKV, ImageStates

FEW_TOKENS = 40
"""Tokens of all texts of an image up to which its keys and values do not pay on a CPU."""


class Caption(NamedTuple):
    """A text about a picture, and how likely the model finds it."""

    text: str
    log_likelihood: float
    """The sum of the log-probabilities of its tokens, given the picture and the prompt."""
    tokens: int
    """Their number, the end token included where the text ended by itself."""

    @property
    def log_likelihood_per_token(self) -> float:
        """The mean, which makes texts of different lengths comparable."""
        return self.log_likelihood / self.tokens


class Captioner:
    """Writes captions with a model's image-grounded decoder."""

    def __init__(self, model: Blip, tokenizer: Tokenizer) -> None:
        self.model = model.eval()
        pack_weights(self.model)
        self.tokenizer = tokenizer

    @classmethod
    def load(
        cls,
        path: str | Path,
        device: torch.device | str = "cpu",
        *,
        dtype: torch.dtype = torch.float32,
    ) -> "Captioner":
        """Open a checkpoint; raises UsageError where there is none."""
        loaded = load_model(path, device, dtype=dtype)
        return cls(loaded.model, loaded.tokenizer)

    def caption(
        self,
        images: Iterable[Picture],
        decoding: DecodingConfig | None = None,
        *,
        seeds: Sequence[int] | None = None,
        batch_size: int = 32,
        keep_prompt: bool = False,
    ) -> list[str]:
        """A caption for each picture; `seeds` (one each) decide what nucleus sampling draws.

        Pictures and the rest are as in `captions`.
        """
        one_each = None if seeds is None else [[seed] for seed in seeds]
        several = self.captions(
            images, 1, decoding, seeds=one_each, batch_size=batch_size, keep_prompt=keep_prompt
        )
        return [texts[0] for texts in several]

    def captions(
        self,
        images: Iterable[Picture],
        count: int,
        decoding: DecodingConfig | None = None,
        *,
        seeds: Sequence[Sequence[int]] | None = None,
        batch_size: int = 32,
        keep_prompt: bool = False,
    ) -> list[list[str]]:
        """`count` captions for each picture, which is encoded once.

        A picture is whatever `blip.read_image` takes. `seeds` holds `count` numbers for each
        picture, by which nucleus sampling draws. Beam search gives its best texts, the best first;
        greedy decoding has one, and repeats it. The prompt is not part of a caption, unless
        `keep_prompt` says so.

        Raises ArgumentError (a ValueError) where `count` is more than there are beams, where the
        prompt leaves no room for a text, and for a single picture in place of a list of them;
        BadImageError for a picture that cannot be used.
        """
        batches = self._batches(images, count, decoding or DecodingConfig(), seeds, batch_size)
        return [row for batch in batches for row in self._texts(batch, keep_prompt)]

    def scored_captions(
        self,
        images: Iterable[Picture],
        count: int = 1,
        decoding: DecodingConfig | None = None,
        *,
        seeds: Sequence[Sequence[int]] | None = None,
        batch_size: int = 32,
        keep_prompt: bool = False,
    ) -> list[list[Caption]]:
        """The same captions as `captions` gives, and how likely the model finds each of them."""
        decoding, found = decoding or DecodingConfig(), list[list[Caption]]()
        for batch in self._batches(images, count, decoding, seeds, batch_size):
            likelihoods = iter(self._score(batch, decoding))
            found += [
                [Caption(text, *next(likelihoods)) for text in row]
                for row in self._texts(batch, keep_prompt)
            ]
        return found

    def _batches(
        self,
        images: Iterable[Picture],
        count: int,
        decoding: DecodingConfig,
        seeds: Sequence[Sequence[int]] | None,
        batch_size: int,
    ) -> Iterator["_Written"]:
        check_batch_size(batch_size)
        if count < 1:
            raise ArgumentError(f"count must be positive, got {count}")
        if decoding.kind == "beam" and count > decoding.beams:
            raise ArgumentError(f"count must not be above beams ({decoding.beams}), got {count}")
        pictures = check_pictures(images)
        start = start_of_text(self.model, self.tokenizer, decoding)
        if seeds is None:
            seeds = [[image * count + n for n in range(count)] for image in range(len(pictures))]
        if len(seeds) != len(pictures):
            raise ArgumentError(f"{len(pictures)} pictures need as many seeds, got {len(seeds)}")
        for first in range(0, len(pictures), batch_size):
            stop = first + batch_size
            yield self._batch(pictures[first:stop], count, decoding, seeds[first:stop], start)

    @torch.inference_mode()
    def _batch(
        self,
        images: Sequence[Picture],
        count: int,
        decoding: DecodingConfig,
        seeds: Sequence[Sequence[int]],
        start: list[int],
    ) -> "_Written":
        size = self.model.config.vision.image_size
        pixels = to_pixels(images, size, self.model.device, self.model.dtype)
        states = self.model.encode_image(pixels)
        kv = self._project(states, decoding, count)
        found = decode_texts(
            self.model,
            kv,
            start,
            self.tokenizer.sep_id,
            decoding,
            count=count,
            seeds=[seed for row in seeds for seed in row],
        )
        if decoding.kind == "greedy":
            rows = [[ids] * count for ids in found]
        else:
            rows = [found[n * count : (n + 1) * count] for n in range(len(images))]
        return _Written(states, start, rows)

    def _texts(self, batch: "_Written", keep_prompt: bool) -> list[list[str]]:
        before = batch.start[1:] if keep_prompt else []
        return [
            [self.tokenizer.decode([*before, *ids]).strip() for ids in row] for row in batch.rows
        ]

    @torch.inference_mode()
    def _score(self, batch: "_Written", decoding: DecodingConfig) -> list[Likelihood]:
        return log_likelihoods(
            self.model,
            self.model.project_image(batch.states, "causal"),
            batch.start,
            [ids for row in batch.rows for ids in row],
            self.tokenizer.sep_id,
            decoding.max_length,
        )

    def _project(
        self, states: Tensor, decoding: DecodingConfig, count: int
    ) -> ImageKV | ImageStates:
        rows = rows_of_each(decoding, count)
        if states.is_cpu and rows * decoding.max_length <= FEW_TOKENS:
            return ImageStates(states)
        return self.model.project_image(states, "causal")


class _Written(NamedTuple):
    """What was written about some pictures."""

    states: Tensor
    """Of the pictures (pictures tokens width)."""
    start: list[int]
    """The ids before every caption."""
    rows: list[list[list[int]]]
    """The ids of each caption of each picture."""
