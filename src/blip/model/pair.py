"""The model of NLVR2: is a statement about two images true?"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from blip.model.blip import SHARED_PARTS
from blip.model.config import ModelConfig
from blip.model.parts import make_text, make_vision, text_sizes
from blip.nn.cross import PairCrossAttention
from blip.nn.initialisation import draw_weights, initial_spread
from blip.nn.memory import PairMemory
from blip.nn.mode import Mode

FIRST_MERGED_LAYER = 6
"""From this layer on a linear layer joins what was read of both images; before, their mean."""


class PairModel(nn.Module):
    """Two images and a statement in, two logits out (BLIP, section 5.4 and figure 5).

    Each layer attends to both images with two cross-attentions. Statements start with `[ENC]`.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.vision = make_vision(config)
        sizes = text_sizes(config)

        def make_cross(index: int, mode: Mode) -> PairCrossAttention:
            merge = index >= FIRST_MERGED_LAYER
            return PairCrossAttention(sizes, memory_width=config.vision.width, merge=merge)

        self.text = make_text(
            config,
            make_cross,
            shared=SHARED_PARTS["all_but_self_attention"],
            modes=config.modes,
        )
        width = config.text.width
        self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2))
        draw_weights(self.head, initial_spread(width))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.vision.class_token.device

    @property
    def dtype(self) -> torch.dtype:
        """The number format of the weights, in which pixels are to come."""
        return self.vision.class_token.dtype

    def encode_image(
        self, images: Float[Tensor, "batch 3 height width_pixels"]
    ) -> Float[Tensor, "batch tokens width"]:
        """States of the class token and of every patch, of normalised pixels."""
        return self.vision(images)

    def project_pairs(
        self,
        left: Float[Tensor, "pairs tokens width"],
        right: Float[Tensor, "pairs tokens width"],
    ) -> PairMemory:
        """Cross-attention keys and values of left and right images, from their states."""
        return PairMemory(
            self.text.remember(left, mode="bidirectional", part="left"),
            self.text.remember(right, mode="bidirectional", part="right"),
        )

    def truth_logits(
        self,
        ids: Int[Tensor, "statements length"],
        visible: Bool[Tensor, "statements length"],
        memory: PairMemory,
    ) -> Float[Tensor, "statements 2"]:
        """Column 1 says that the statement is true of its pair, column 0 that it is not.

        Row `i` is about pair `i // (statements // len(memory))`.
        """
        return self.head(self.text.first_states(ids, visible, memory=memory))


def tensors_from_med(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A MED's tensors for a `PairModel`: both cross-attentions start from its one.

    Takes and gives our names, of the parts that both models have; merge layers and head are not
    among them and stay as they were drawn.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if not name.startswith(("vision.", "text.")) or ".causal." in name:
            continue
        if ".read." in name:
            for side in ("left", "right"):
                found[name.replace(".read.", f".{side}.")] = tensor
        else:
            found[name] = tensor
    return found
