"""Keys and values that are computed once: of images, for cross-attention; of decoded text."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class LayerKV(NamedTuple):
    """Keys and values for the cross-attention of one layer, and which of them are visible."""

    key: Float[Tensor, "images heads tokens head_width"]
    value: Float[Tensor, "images heads tokens head_width"]
    visible: Bool[Tensor, "images 1 1 tokens"] | None = None
    """None: all."""


@dataclass(frozen=True, slots=True)
class ImageKV:
    """Cross-attention keys and values of some images, for every layer of the text transformer.

    `keys` and `values` hold one tensor a layer, of shape `(images, heads, tokens, head width)`.
    `visible` (`(images, tokens)`) marks the tokens that may be seen; None means all of them, as for
    an image, which has no padding. In VQA the decoder attends to questions, not to images: their
    keys and values are held likewise.
    """

    keys: tuple[Float[Tensor, "images heads tokens head_width"], ...]
    values: tuple[Float[Tensor, "images heads tokens head_width"], ...]
    visible: Bool[Tensor, "images tokens"] | None = None

    def __len__(self) -> int:
        """Number of images."""
        return self.keys[0].shape[0]

    def layer(self, index: int) -> LayerKV:
        """What the layer `index` attends to."""
        mask = None if self.visible is None else self.visible[:, None, None, :]
        return LayerKV(self.keys[index], self.values[index], mask)

    def select(self, index: Int[Tensor, " selected"]) -> "ImageKV":
        """Those of the images `index`, in that order; an image may come more than once."""
        return ImageKV(
            tuple(key.index_select(0, index) for key in self.keys),
            tuple(value.index_select(0, index) for value in self.values),
            None if self.visible is None else self.visible.index_select(0, index),
        )


@dataclass(frozen=True, slots=True)
class ImageStates:
    """States of images, to which cross-attention attends without keys and values.

    For few tokens about each image that is less work than to project all of its states first.
    """

    states: Float[Tensor, "images tokens width"]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.states)

    def layer(self, index: int) -> "ImageStates":
        """What the layer `index` attends to: the same for all."""
        return self

    def select(self, index: Int[Tensor, " selected"]) -> "ImageStates":
        """Those of the images `index`, in that order; an image may come more than once."""
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
        """What the layer `index` attends to."""
        return self.left.layer(index), self.right.layer(index)


AnyImageKV = ImageKV | ImageStates | PairKV
"""What a text transformer attends to."""

AnyLayerKV = LayerKV | ImageStates | tuple[LayerKV, LayerKV]
"""What one of its layers attends to."""


class KVCache:
    """Self-attention keys and values of the tokens decoded so far, for every layer."""

    ROOM = 16
    """Tokens for which there is room beyond those that must be held."""

    def __init__(self, layers: int) -> None:
        self._lengths = [0] * layers
        # (keys and values, layers, rows, heads, room for tokens, head width)
        self._held: Tensor | None = None
        # What was held before the last `reorder`, to be written over by the next.
        self._spare: Tensor | None = None

    @property
    def length(self) -> int:
        """Tokens held."""
        return self._lengths[-1]

    def extend(
        self,
        layer: int,
        keys: Float[Tensor, "rows heads new head_width"],
        values: Float[Tensor, "rows heads new head_width"],
    ) -> tuple[
        Float[Tensor, "rows heads tokens head_width"],
        Float[Tensor, "rows heads tokens head_width"],
    ]:
        """Append new keys and values of one layer; returns all of them, valid until `reorder`."""
        rows, heads, new, head_width = keys.shape
        first, last = self._lengths[layer], self._lengths[layer] + new
        held = self._held
        if held is None or last > held.shape[4]:
            room = (2, len(self._lengths), rows, heads, last + self.ROOM, head_width)
            self._held = keys.new_empty(room)
            if held is not None:
                self._held[..., : held.shape[4], :] = held
            held = self._held
        held[0, layer, :, :, first:last] = keys
        held[1, layer, :, :, first:last] = values
        self._lengths[layer] = last
        return held[0, layer, :, :, :last], held[1, layer, :, :, :last]

    @torch.no_grad()
    def reorder(self, index: Int[Tensor, " kept"]) -> None:
        """Row `j` becomes the old row `index[j]`; rows may be dropped or repeated."""
        if self._held is None:
            return
        both, layers, _, heads, room, head_width = self._held.shape
        shape = (both, layers, len(index), heads, room, head_width)
        # Fresh memory has to be mapped page by page, which takes longer than to move what is held.
        moved = self._spare
        if moved is None or moved.shape != shape:
            moved = self._held.new_empty(shape)
        tokens = slice(0, self.length)
        torch.index_select(self._held[..., tokens, :], 2, index, out=moved[..., tokens, :])
        self._held, self._spare = moved, self._held
