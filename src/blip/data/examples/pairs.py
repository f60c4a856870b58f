"""Pairs of an image and a text, as a batch that a training step takes."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from blip.data.tokenizer import Texts


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
            texts=self.texts._replace(ids=self.texts.ids.to(device, non_blocking=True)),
            image_ids=self.image_ids.to(device, non_blocking=True),
        )

    def pin_memory(self) -> "PairBatch":
        """The same batch in pinned memory, from which `to` copies to a GPU without waiting.

        `torch.utils.data.DataLoader` calls it.
        """
        return replace(
            self,
            images=self.images.pin_memory(),
            texts=Texts(self.texts.ids.pin_memory(), self.texts.visible.pin_memory()),
            image_ids=self.image_ids.pin_memory(),
        )
