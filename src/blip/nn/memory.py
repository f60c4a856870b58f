"""What cross-attention needs of an image, kept for every later text pass."""

from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import Bool, Float, Int
from torch import Tensor


class LayerMemory(NamedTuple):
    """Keys and values for one layer, and which of them may be seen (None: all)."""

    key: Float[Tensor, "memories heads tokens head_width"]
    value: Float[Tensor, "memories heads tokens head_width"]
    visible: Bool[Tensor, "memories 1 1 tokens"] | None = None


@dataclass(frozen=True, slots=True)
class ImageMemory:
    """Cross-attention keys and values of some images, for every layer of the text transformer.

    `keys` and `values` hold one tensor a layer, of shape `(images, heads, tokens, head width)`.
    `visible` (`(images, tokens)`) marks the tokens that may be seen; None means all of them, as for
    an image, which has no padding. States of texts (the questions of VQA) are remembered likewise.
    """

    keys: tuple[Float[Tensor, "images heads tokens head_width"], ...]
    values: tuple[Float[Tensor, "images heads tokens head_width"], ...]
    visible: Bool[Tensor, "images tokens"] | None = None

    def __len__(self) -> int:
        """Number of images."""
        return self.keys[0].shape[0]

    def layer(self, index: int) -> LayerMemory:
        """What the layer `index` reads."""
        mask = None if self.visible is None else self.visible[:, None, None, :]
        return LayerMemory(self.keys[index], self.values[index], mask)

    def select(self, index: Int[Tensor, " selected"]) -> "ImageMemory":
        """The memories of the images `index`, in that order; an image may come more than once."""
        return ImageMemory(
            tuple(key.index_select(0, index) for key in self.keys),
            tuple(value.index_select(0, index) for value in self.values),
            None if self.visible is None else self.visible.index_select(0, index),
        )


@dataclass(frozen=True, slots=True)
class StateMemory:
    """States of images that cross-attention reads as they are, without keys and values.

    For few tokens about each image that is less work than to project all of its states first.
    """

    states: Float[Tensor, "images tokens width"]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.states)

    def layer(self, index: int) -> "StateMemory":
        """What the layer `index` reads: the same for all."""
        return self

    def select(self, index: Int[Tensor, " selected"]) -> "StateMemory":
        """The states of the images `index`, in that order; an image may come more than once."""
        return StateMemory(self.states.index_select(0, index))


@dataclass(frozen=True, slots=True)
class PairMemory:
    """The memories of left and right images, for a text about both."""

    left: ImageMemory
    right: ImageMemory

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.left)

    def layer(self, index: int) -> tuple[LayerMemory, LayerMemory]:
        """What the layer `index` reads."""
        return self.left.layer(index), self.right.layer(index)
