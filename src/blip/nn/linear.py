"""The linear layer of all transformers: torch's, with a faster kernel where one fits."""

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import dropout

from blip.errors import UsageError
from blip.nn.kernels.int8_weight import Int8Weight
from blip.nn.kernels.onednn import linear
from blip.nn.kernels.packed_weight import PackedWeight, packed_linear


class Linear(nn.Linear):
    """`nn.Linear` that may keep a packed copy of its weight for inference; see `pack_weights`."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__(inputs, outputs, bias)
        self.packed: PackedWeight | None = None
        self.int8: Int8Weight | None = None
        """What took the place of the weight."""

    def pack(self) -> None:
        """Keep a packed copy of the weight, made by the next inference."""
        self.packed = self.packed or PackedWeight()

    def forward(self, input: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        """Multiply by the weight and add the bias."""
        if self.int8 is not None:
            return self.int8.multiply(input, self.bias)
        return packed_linear(input, self.weight, self.bias, self.packed)

    def to_int8(self) -> None:
        """Round the weight to int8, for inference on a CPU; it cannot be saved any more."""
        self.int8 = Int8Weight(self.weight)
        self.register_parameter("weight", None)

    def part(
        self, input: Float[Tensor, "*rows inputs"], outputs: slice
    ) -> Float[Tensor, "*rows some_outputs"]:
        """Some of the outputs, `self(input)[..., outputs]`."""
        if self.int8 is not None:
            return self.int8.multiply(input, self.bias)[..., outputs]
        return linear(input, self.weight[outputs], self.bias[outputs])

    def then_gelu(self, input: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        """`gelu(self(input))`, exact GELU."""
        if self.int8 is not None:
            return self.int8.multiply(input, self.bias, then_gelu=True)
        return packed_linear(input, self.weight, self.bias, self.packed, then_gelu=True)

    def added_to(
        self,
        residual: Float[Tensor, "*rows outputs"],
        input: Float[Tensor, "*rows inputs"],
        dropout_p: float,
    ) -> Float[Tensor, "*rows outputs"]:
        """`residual + dropout(self(input))`."""
        return residual + dropout(self(input), dropout_p, self.training)

    def _save_to_state_dict(self, *args: Any, **kwargs: Any) -> None:
        if self.int8 is not None:
            raise UsageError("a model in int8 cannot be saved; load the checkpoint in float32")
        super()._save_to_state_dict(*args, **kwargs)
