"""Linear layers in int8: weights are rounded once, inputs as they come, each row by its scale.

    weight (outputs, inputs)  ~  scale of the output * whole numbers from -127 to 127
    input (rows, inputs)      ~  scale of the row    * whole numbers from -127 to 127

An x86 CPU without VNNI sums two products in 16 bits; its weights go from -64 to 64, so that none
overflows. Products of whole numbers are summed exactly; scales and bias are applied in float32. A
row has a scale of its own, so that results do not depend on what else is in a batch.
"""

from functools import cache
from typing import Any

import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor
from torch.nn.functional import gelu

from blip.errors import UsageError
from blip.nn.kernels.pages import READS_BEFORE_HUGE_PAGES, hold_in_huge_pages
from blip.nn.kernels.switch import kernels_enabled

# torch documents these operators for its compiler alone.
QUANTISED: Any = torch.ops.onednn

MOST = 127
MOST_WITHOUT_VNNI = 64
"""Of a weight: 2 * 255 * 64 fits into 16 bits."""
ZERO = 128
"""What stands for 0 in the unsigned numbers of the input, as the CPU's instructions take them."""
ROWS_AT_A_TIME = 577
"""Rows whose intermediate results stay in the caches of a core."""


class Int8Weight:
    """The weight of a linear layer in int8, in the layout that oneDNN reads fastest.

    With kernels off it computes the same, slowly, on any machine. It can be neither copied nor
    saved: load the checkpoint again.
    """

    def __init__(self, weight: Float[Tensor, "outputs inputs"]) -> None:
        exact = weight.detach().float()
        self.outputs, self.inputs = exact.shape
        self.scales: Float32[Tensor, " outputs"] = _scales(exact, most_of_weights())
        whole = (exact / self.scales[:, None]).round().to(torch.int8)
        self._packed: Tensor | None = None
        self._plain: Tensor | None = None
        if kernels_enabled():
            self._packed = QUANTISED.qlinear_prepack(whole, None)
        else:
            self._plain = whole
        self._zeros = torch.zeros(self.outputs, dtype=torch.int32)
        self._reads = 0

    def multiply(
        self,
        input: Float[Tensor, "*rows inputs"],
        bias: Float[Tensor, " outputs"] | None,
        *,
        then_gelu: bool = False,
    ) -> Float[Tensor, "*rows outputs"]:
        """The linear layer, in the type of `input`, without a gradient.

        `then_gelu` applies the exact GELU.

        Raises UsageError for an input on a GPU.
        """
        if not input.is_cpu:
            raise UsageError("weights in int8 are for CPUs; load the model in another precision")
        self._reads += 1
        if self._reads == READS_BEFORE_HUGE_PAGES and self._packed is not None:
            hold_in_huge_pages(self._packed)
        rows = input.detach().reshape(-1, self.inputs).float()
        bias = None if bias is None else bias.detach()
        if len(rows) <= ROWS_AT_A_TIME:
            outputs = self._multiply(rows, bias, None, then_gelu=then_gelu)
        else:
            outputs = rows.new_empty(len(rows), self.outputs)
            for some, into in zip(
                rows.split(ROWS_AT_A_TIME), outputs.split(ROWS_AT_A_TIME), strict=True
            ):
                self._multiply(some, bias, into, then_gelu=then_gelu)
        return outputs.view(*input.shape[:-1], self.outputs).to(input.dtype)

    def __reduce__(self) -> Any:
        raise UsageError("a model in int8 cannot be copied; load the checkpoint again")

    def _multiply(
        self, rows: Tensor, bias: Tensor | None, into: Tensor | None, *, then_gelu: bool
    ) -> Tensor:
        """The layer's outputs, written `into` a tensor or a new one."""
        whole, scales = round_rows(rows)
        products = self._products(whole)
        scaled = products if then_gelu or into is None else into
        if bias is None:
            torch.mul(products, scales, out=scaled)
        else:
            torch.addcmul(bias, products, scales, out=scaled)
        if not then_gelu:
            return scaled
        return gelu(scaled) if into is None else into.copy_(gelu(scaled))

    def _products(self, whole: UInt8[Tensor, "rows inputs"]) -> Float32[Tensor, "rows outputs"]:
        """Products with the rows as whole numbers, times the scales of the outputs."""
        if self._packed is None:
            assert self._plain is not None
            return (whole.float() - ZERO) @ self._plain.float().t() * self.scales
        return QUANTISED.qlinear_pointwise(
            whole,
            1.0,
            ZERO,
            self._packed,
            self.scales,
            self._zeros,
            None,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )


def round_rows(
    rows: Float32[Tensor, "rows inputs"],
) -> tuple[UInt8[Tensor, "rows inputs"], Float32[Tensor, "rows 1"]]:
    """Whole numbers from 1 to 255, which stand for -127 to 127, and the scale of each row.

    A row that is not finite has a scale that is not.
    """
    scales = _scales(rows, MOST)[:, None]
    # Converting to signed numbers takes a tenth of the time; another first bit adds 128 to them.
    signed = (rows / scales).round_().to(torch.int8)
    return signed.view(torch.uint8).bitwise_xor_(ZERO), scales


def _scales(rows: Float32[Tensor, "rows columns"], most: int) -> Float32[Tensor, " rows"]:
    largest = torch.maximum(rows.amax(dim=1), rows.amin(dim=1).neg_())
    # A row of zeros would have the scale 0.
    return largest.div_(most).clamp_min_(torch.finfo(torch.float32).tiny)


def most_of_weights() -> int:
    """Largest whole number of a weight on this CPU."""
    return MOST_WITHOUT_VNNI if _is_x86() and not has_vnni() else MOST


def int8_multiplies() -> bool:
    """Whether products of int8 are faster than those of float32 on this CPU, for many rows."""
    return torch.backends.mkldnn.is_available() and (has_vnni() or _is_x86())


@cache
def has_vnni() -> bool:
    """Whether this CPU sums products of int8 in 32 bits, in one instruction."""
    # torch has no public name for it.
    return bool(torch.cpu._is_vnni_supported())  # pyright: ignore[reportPrivateUsage]


def _is_x86() -> bool:
    return torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
