"""The model of NLVR2: is a statement about two images true?"""

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from blip.model.config import ModelConfig
from blip.model.grounded import GroundedModel
from blip.model.parts import SHARED_PARTS, text_sizes
from blip.nn.attention import PairCrossAttention
from blip.nn.init import init_std, init_weights
from blip.nn.kv import PairKV
from blip.nn.mode import Mode

FIRST_MERGED_LAYER = 6
"""From this layer on, counted from 0, a linear layer joins both cross-attentions' outputs; before,
their mean. So it is in the release, and a shallower text encoder has no merge layer."""


class PairModel(GroundedModel):
    """Two images and a statement in, two logits out (BLIP, section 5.4 and figure 5).

    Each layer attends to both images with two cross-attentions. Statements start with `[ENC]`.
    """

    def __init__(self, config: ModelConfig) -> None:
        sizes = text_sizes(config)

        def make_cross(index: int, mode: Mode) -> PairCrossAttention:
            merge = index >= FIRST_MERGED_LAYER
            return PairCrossAttention(sizes, kv_width=config.vision.width, merge=merge)

        super().__init__(config, make_cross, shared=SHARED_PARTS["all_but_self_attention"])
        width = config.text.width
        self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2))
        init_weights(self.head, init_std(width))

    def project_pairs(
        self,
        left: Float[Tensor, "pairs tokens width"],
        right: Float[Tensor, "pairs tokens width"],
    ) -> PairKV:
        """Cross-attention keys and values of left and right images, from their states."""
        return PairKV(*self.text.project_kv(left, right, mode="bidirectional"))

    def truth_logits(
        self,
        ids: Int[Tensor, "statements length"],
        visible: Bool[Tensor, "statements length"],
        image_kv: PairKV,
    ) -> Float[Tensor, "statements 2"]:
        """Column 1 says that the statement is true of its pair, column 0 that it is not.

        Row `i` is about pair `i // (statements // len(image_kv))`.
        """
        return self.head(self.text.first_states(ids, visible, image_kv=image_kv))
