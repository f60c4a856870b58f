"""The linear layer of all transformers: torch's, with a faster kernel where one fits."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import dropout

from blip.nn.kernels.packed_weight import PackedWeight, packed_linear


class Linear(nn.Linear):
    """`nn.Linear` that may keep a packed copy of its weight for inference; see `pack_weights`."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__(inputs, outputs, bias)
        self.packed: PackedWeight | None = None

    def pack(self) -> None:
        """Keep a packed copy of the weight, made by the next inference."""
        self.packed = self.packed or PackedWeight()

    def forward(self, input: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        """Multiply by the weight and add the bias."""
        return packed_linear(input, self.weight, self.bias, self.packed)

    def then_gelu(self, input: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        """`gelu(self(input))`, exact GELU."""
        return packed_linear(input, self.weight, self.bias, self.packed, then_gelu=True)

    def added_to(
        self,
        residual: Float[Tensor, "*rows outputs"],
        input: Float[Tensor, "*rows inputs"],
        dropout_p: float,
    ) -> Float[Tensor, "*rows outputs"]:
        """`residual + dropout(self(input))`."""
        return residual + dropout(self(input), dropout_p, self.training)
