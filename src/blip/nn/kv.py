"""Cached keys and values: of images for cross-attention, of decoded text for self-attention."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class LayerKV(NamedTuple):
    """Keys and values for the cross-attention of one layer, and the mask of visible tokens."""

    key: Float[Tensor, "images heads tokens head_width"]
    value: Float[Tensor, "images heads tokens head_width"]
    visible: Bool[Tensor, "images 1 1 tokens"] | None = None
    """None: all."""


@dataclass(frozen=True, slots=True)
class ImageKV:
    """Cross-attention keys and values of some images, for every layer of the text transformer.

    `keys` and `values` hold one tensor a layer, of shape `(images, heads, tokens, head width)`.
    `visible` (`(images, tokens)`) marks the tokens that may be seen; None means all, as for images,
    which have no padding. In VQA the decoder attends to questions instead of images, whose keys and
    values are stored in the same way.
    """

    keys: tuple[Float[Tensor, "images heads tokens head_width"], ...]
    values: tuple[Float[Tensor, "images heads tokens head_width"], ...]
    visible: Bool[Tensor, "images tokens"] | None = None

    def __len__(self) -> int:
        """Number of images."""
        return self.keys[0].shape[0]

    def layer(self, index: int) -> LayerKV:
        """Keys and values for layer `index`."""
        mask = None if self.visible is None else self.visible[:, None, None, :]
        return LayerKV(self.keys[index], self.values[index], mask)

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return self.keys[0].device

    def select(self, index: Int[Tensor, " selected"]) -> "ImageKV":
        """Keys and values of the images `index`, in that order; repeats are allowed."""
        return ImageKV(
            tuple(key.index_select(0, index) for key in self.keys),
            tuple(value.index_select(0, index) for value in self.values),
            None if self.visible is None else self.visible.index_select(0, index),
        )

    def select_into(self, other: "ImageKV", index: Int[Tensor, " selected"]) -> None:
        """Write keys and values of the images `index` into the memory of `other`."""
        for mine, theirs in zip(
            (*self.keys, *self.values), (*other.keys, *other.values), strict=True
        ):
            torch.index_select(mine, 0, index, out=theirs)


@dataclass(frozen=True, slots=True)
class ImageStates:
    """Image states that cross-attention reads without projecting them to keys and values.

    With few text tokens per image, that is less work than projecting all states first.
    """

    states: Float[Tensor, "images tokens width"]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.states)

    def layer(self, index: int) -> "ImageStates":
        """The same states for every layer."""
        return self

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return self.states.device

    def select(self, index: Int[Tensor, " selected"]) -> "ImageStates":
        """Keys and values of the images `index`, in that order; repeats are allowed."""
        return ImageStates(self.states.index_select(0, index))


@dataclass(frozen=True, slots=True)
class PairKV:
    """Keys and values of left and right images, for a text about both."""

    left: ImageKV
    right: ImageKV

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.left)

    def layer(self, index: int) -> tuple[LayerKV, LayerKV]:
        """Keys and values for layer `index`."""
        return self.left.layer(index), self.right.layer(index)

    def select(self, index: Int[Tensor, " selected"]) -> "PairKV":
        """Keys and values of the pairs `index`, in that order; repeats are allowed."""
        return PairKV(self.left.select(index), self.right.select(index))


AnyImageKV = ImageKV | ImageStates | PairKV
"""What a text transformer attends to."""

AnyLayerKV = LayerKV | ImageStates | tuple[LayerKV, LayerKV]
"""What one of its layers attends to."""


class KVCache:
    """Self-attention keys and values of the tokens decoded so far, for every layer."""

    SPARE_TOKENS = 16
    """Additional tokens to allocate memory for."""

    def __init__(self, layers: int) -> None:
        self._lengths = [0] * layers
        # (keys and values, layers, rows, heads, room for tokens, head width)
        self._held: Tensor | None = None
        # The memory before the last `reorder`, which the next one reuses.
        self._spare: Tensor | None = None

    @property
    def length(self) -> int:
        """Number of cached tokens."""
        return self._lengths[-1]

    def extend(
        self, layer: int, keys_and_values: Float[Tensor, "2 rows heads new head_width"]
    ) -> tuple[
        Float[Tensor, "rows heads tokens head_width"],
        Float[Tensor, "rows heads tokens head_width"],
    ]:
        """Append keys and values of new tokens; returns those of all, valid until `reorder`."""
        _, rows, heads, new, head_width = keys_and_values.shape
        first, last = self._lengths[layer], self._lengths[layer] + new
        held = self._held
        if held is None or last > held.shape[4]:
            room = (2, len(self._lengths), rows, heads, last + self.SPARE_TOKENS, head_width)
            self._held = keys_and_values.new_empty(room)
            if held is not None:
                self._held[..., : held.shape[4], :] = held
            held = self._held
        held[:, layer, :, :, first:last] = keys_and_values
        self._lengths[layer] = last
        return held[0, layer, :, :, :last], held[1, layer, :, :, :last]

    def attention_mask(
        self, new: int, total: int
    ) -> tuple[Bool[Tensor, "new tokens"] | None, bool]:
        """What the last `new` of `total` tokens see: a mask or None, and whether it is causal."""
        if new in (1, total):
            return None, new > 1
        assert self._held is not None
        ones = torch.ones(new, total, dtype=torch.bool, device=self._held.device)
        return ones.tril(total - new), False

    def tokens(self) -> list[Float[Tensor, "2 rows heads tokens head_width"]]:
        """Keys and values of the cached tokens, for each layer; valid until `reorder`."""
        assert self._held is not None
        return list(self._held[..., : self.length, :].unbind(1))

    @torch.no_grad()
    def reorder(self, index: Int[Tensor, " kept"]) -> None:
        """Row `j` becomes the old row `index[j]`; rows may be dropped or repeated."""
        if self._held is None:
            return
        both, layers, _, heads, room, head_width = self._held.shape
        shape = (both, layers, len(index), heads, room, head_width)
        # Reusing memory is faster than allocating, which maps fresh pages one by one.
        reordered = self._spare
        if reordered is None or reordered.shape != shape:
            reordered = self._held.new_empty(shape)
        tokens = slice(0, self.length)
        torch.index_select(self._held[..., tokens, :], 2, index, out=reordered[..., tokens, :])
        self._held, self._spare = reordered, self._held
