"""Heads of the models: from states to features for ITC and to vocabulary logits."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from blip.nn.bert import NORM_EPS
from blip.nn.init import init_std, init_weights
from blip.nn.kernels.aligned import aligned_linear, is_worth_aligning
from blip.nn.kernels.int8_weight import Int8Weight
from blip.nn.kernels.packed_weight import PackedWeight, packed_linear
from blip.nn.linear import Linear
from blip.nn.precision import at_least_float32


class LanguageHead(nn.Module):
    """From states to vocabulary logits: dense, GELU, norm, then the tied word embedding."""

    def __init__(self, width: int, vocabulary_size: int) -> None:
        super().__init__()
        self.dense = Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.bias = nn.Parameter(Tensor(vocabulary_size).zero_())
        self.packed: PackedWeight | None = None
        self.int8: Int8Weight | None = None
        """A copy of the word embedding, which itself stays."""
        init_weights(self, init_std(width))

    def pack(self) -> None:
        """Keep a packed copy of the word embedding for inference; see `pack_weights`."""
        self.packed = self.packed or PackedWeight()

    def to_int8(self, words: Float[Tensor, "vocabulary width"]) -> None:
        """Multiply by the word embedding in int8 from now on."""
        self.int8 = Int8Weight(words)

    def forward(
        self, states: Float[Tensor, "*rows width"], words: Float[Tensor, "vocabulary width"]
    ) -> Float[Tensor, "*rows vocabulary"]:
        """Logits of the next token; `words` is the decoder's word embedding, which is tied."""
        states = self.norm(self.dense.then_gelu(states))
        if self.int8 is not None:
            return self.int8.multiply(states, self.bias)
        if is_worth_aligning(words):
            return aligned_linear(states, words, self.bias)
        return packed_linear(states, words, self.bias, self.packed)


def unit_features(
    projection: nn.Linear, states: Float[Tensor, "rows width"]
) -> Float[Tensor, "rows projection"]:
    """First states of images or texts, projected and normalised to length 1 (ITC).

    They are in float32 at least: rounded to half precision they would not have length 1.
    """
    return normalize(at_least_float32(projection(states)), dim=-1)
