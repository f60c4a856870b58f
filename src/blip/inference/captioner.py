"""Pictures in, captions out."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from blip.data.tokenizer import Tokenizer
from blip.generation.config import SearchConfig
from blip.inference.checkpoint import load_model
from blip.inference.pixels import Picture, to_pixels
from blip.inference.search import rows_of_each, search_texts
from blip.model.blip import Blip
from blip.nn.linear import pack_weights
from blip.nn.memory import ImageMemory, StateMemory

FEW_TOKENS = 40
"""Tokens of all texts of an image up to which its keys and values do not pay on a CPU."""


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
        images: Sequence[Picture],
        search: SearchConfig | None = None,
        *,
        seeds: Sequence[int] | None = None,
        batch_size: int = 32,
    ) -> list[str]:
        """A caption for each picture; `seeds` (one each) decide what nucleus sampling draws."""
        one_each = None if seeds is None else [[seed] for seed in seeds]
        several = self.captions(images, 1, search, seeds=one_each, batch_size=batch_size)
        return [texts[0] for texts in several]

    def captions(
        self,
        images: Sequence[Picture],
        count: int,
        search: SearchConfig | None = None,
        *,
        seeds: Sequence[Sequence[int]] | None = None,
        batch_size: int = 32,
    ) -> list[list[str]]:
        """`count` captions for each picture, which is encoded once.

        `seeds` holds `count` numbers for each picture, by which nucleus sampling draws. Beam search
        gives its best texts, the best first; greedy search has one, and repeats it. The prompt is
        not part of a caption. Raises ValueError where `count` is more than there are beams.
        """
        search = search or SearchConfig()
        if seeds is None:
            seeds = [[image * count + n for n in range(count)] for image in range(len(images))]
        texts: list[list[str]] = []
        for start in range(0, len(images), batch_size):
            stop = start + batch_size
            texts += self._batch(images[start:stop], count, search, seeds[start:stop])
        return texts

    @torch.inference_mode()
    def _batch(
        self,
        images: Sequence[Picture],
        count: int,
        search: SearchConfig,
        seeds: Sequence[Sequence[int]],
    ) -> list[list[str]]:
        size = self.model.config.vision.image_size
        pixels = to_pixels(images, size, self.model.device, self.model.dtype)
        states = self.model.encode_image(pixels)
        memory = self._remember(states, search, count)
        found = search_texts(
            self.model,
            memory,
            self.tokenizer.encode_prompt(search.prompt),
            self.tokenizer.sep_id,
            search,
            count=count,
            seeds=[seed for row in seeds for seed in row],
        )
        texts = [self.tokenizer.decode(ids).strip() for ids in found]
        if search.kind == "greedy":
            return [[text] * count for text in texts]
        return [texts[n * count : (n + 1) * count] for n in range(len(images))]

    def _remember(
        self, states: Tensor, search: SearchConfig, count: int
    ) -> ImageMemory | StateMemory:
        rows = rows_of_each(search, count)
        if states.is_cpu and rows * search.max_length <= FEW_TOKENS:
            return StateMemory(states)
        return self.model.project_image(states, "causal")
