"""Recent momentum features, kept as further negatives (MoCo, He et al. 2020)."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class QueueContents(NamedTuple):
    """Features of recent pairs, and of which image each was."""

    images: Float[Tensor, "held projection"]
    texts: Float[Tensor, "held projection"]
    image_ids: Int[Tensor, " held"]


class FeatureQueue:
    """A ring of the last `size` pairs.

    Unlike the original it starts empty, not full of random vectors, and takes batches of any size:
    the last short batch of an epoch simply wraps around.
    """

    def __init__(
        self,
        size: int,
        projection: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.images = torch.zeros(size, projection, device=device, dtype=dtype)
        self.texts = torch.zeros(size, projection, device=device, dtype=dtype)
        self.image_ids = torch.full((size,), -1, dtype=torch.int64, device=device)
        self.next = 0
        self.held = 0

    def to(self, device: torch.device) -> None:
        """Move what is held, and what is to come."""
        self.images = self.images.to(device)
        self.texts = self.texts.to(device)
        self.image_ids = self.image_ids.to(device)

    @property
    def size(self) -> int:
        """Pairs that fit."""
        return len(self.images)

    def contents(self) -> QueueContents:
        """What is held; a view, to be read before the next `push`."""
        held = slice(0, self.held)
        return QueueContents(self.images[held], self.texts[held], self.image_ids[held])

    @torch.no_grad()
    def push(
        self,
        images: Float[Tensor, "batch projection"],
        texts: Float[Tensor, "batch projection"],
        image_ids: Int[Tensor, " batch"],
    ) -> None:
        """Overwrite the oldest pairs with these."""
        if self.size == 0:
            return
        images, texts, image_ids = (
            images[-self.size :],
            texts[-self.size :],
            image_ids[-self.size :],
        )
        places = (torch.arange(len(images), device=self.images.device) + self.next) % self.size
        self.images[places] = images.to(self.images.dtype)
        self.texts[places] = texts.to(self.texts.dtype)
        self.image_ids[places] = image_ids
        self.next = (self.next + len(images)) % self.size
        self.held = min(self.held + len(images), self.size)

    def state_dict(self) -> dict[str, Tensor | int]:
        """Everything, for a checkpoint."""
        return {
            "images": self.images,
            "texts": self.texts,
            "image_ids": self.image_ids,
            "next": self.next,
            "held": self.held,
        }

    def load_state_dict(self, state: dict[str, Tensor | int]) -> None:
        """Undo `state_dict`; raises ValueError where the sizes differ."""
        for name in ("images", "texts", "image_ids"):
            mine, other = getattr(self, name), state[name]
            assert isinstance(other, Tensor)
            if mine.shape != other.shape:
                raise ValueError(
                    f"the queue holds {tuple(mine.shape)}, the checkpoint {tuple(other.shape)}"
                )
            mine.copy_(other)
        self.next, self.held = int(state["next"]), int(state["held"])
