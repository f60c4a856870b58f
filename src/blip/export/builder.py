"""Builds one ONNX graph, operation by operation, of the layers of a model in torch.

Torch's own exporter is not used: it traces with symbolic lengths, which took 22 s of CPU time for
the graphs of a model of two layers (torch 2.13), and what it makes of a model changes from release
to release. Those built here take 12 ms, and `check.py` compares them with the model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import torch
from jaxtyping import Float
from jaxtyping import Int8 as Int8Array
from onnx import TensorProto, helper
from torch import Tensor, nn

from blip.export.names import GREATEST, LEAST
from blip.nn.text_embedding import TextEmbedding

OPSET = 20
"""The first with GELU."""
IR_VERSION = 9
"""The format of the file that goes with this opset; older runtimes refuse later ones."""
HIDDEN = float(np.finfo(np.float32).min)
"""Added to the score of what may not be seen; unlike infinity it gives no NaN."""

TYPES = {"float": TensorProto.FLOAT, "int": TensorProto.INT64, "bool": TensorProto.BOOL}
Axis = int | str
"""The length of an axis, or the name of one that may have any length."""


@dataclass(frozen=True, slots=True)
class Int8:
    """How products with weights are computed in whole numbers of 8 bits."""

    ranges: Mapping[str, tuple[float, float]] = field(
        default_factory=dict[str, tuple[float, float]]
    )
    """The least and the greatest of what a weight is multiplied by (static); those of the others
    are found each time (dynamic)."""
    smallest: int = 2**9
    """Weights of fewer numbers stay in float32."""


def quantise_weight(
    weight: Float[Tensor, "outputs inputs"],
) -> tuple[Float[Tensor, " outputs"], Int8Array[Tensor, "inputs outputs"]]:
    """The scale of each output, and whole numbers that give `weight.T` when multiplied by it."""
    weight = weight.float()
    scale = (weight.abs().amax(dim=1) / 127).clamp(min=float(np.finfo(np.float32).tiny))
    return scale, (weight / scale[:, None]).round().to(torch.int8).T.contiguous()


@dataclass(slots=True)
class Builder:
    """A graph that is being built; values go by their names, parameters by those in `model`."""

    model: nn.Module
    nodes: list[onnx.NodeProto] = field(default_factory=list[onnx.NodeProto])
    weights: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    constants: dict[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])
    inputs: list[onnx.ValueInfoProto] = field(default_factory=list[onnx.ValueInfoProto])
    outputs: list[onnx.ValueInfoProto] = field(default_factory=list[onnx.ValueInfoProto])
    int8: Int8 | None = None
    """None computes all in float32."""
    observes: bool = False
    """Whether it gives out the least and the greatest of what each weight is multiplied by."""
    _names: dict[int, str] = field(default_factory=dict[int, str])

    def __post_init__(self) -> None:
        """Note what the parameters are called."""
        self._names = {id(parameter): name for name, parameter in self.model.named_parameters()}

    def input(self, name: str, kind: str, axes: Sequence[Axis]) -> str:
        """Declare an input; returns its name."""
        self.inputs.append(helper.make_tensor_value_info(name, TYPES[kind], list(axes)))
        return name

    def output(self, name: str, value: str, axes: Sequence[Axis]) -> None:
        """Give a value out as the float tensor `name`."""
        self.nodes.append(helper.make_node("Identity", [value], [name], name=f"give_{name}"))
        self.outputs.append(helper.make_tensor_value_info(name, TYPES["float"], list(axes)))

    def add(self, operation: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """One operation; returns the name of its first output."""
        return self.add_all(operation, *inputs, outputs=outputs, **attributes)[0]

    def add_all(self, operation: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        """One operation; returns the names of its outputs."""
        name = f"{operation.lower()}_{len(self.nodes)}"
        names = [name] if outputs == 1 else [f"{name}_{n}" for n in range(outputs)]
        self.nodes.append(helper.make_node(operation, inputs, names, name=name, **attributes))
        return names

    def ints(self, *values: int) -> str:
        """A constant list of whole numbers."""
        return self._constant("ints_" + "_".join(map(str, values)), np.array(values, np.int64))

    def whole(self, value: int) -> str:
        """A constant whole number."""
        return self._constant(f"int_{value}", np.array(value, np.int64))

    def real(self, value: float) -> str:
        """A constant number."""
        return self._constant(f"float_{value!r}", np.array(value, np.float32))

    def weight(self, parameter: Tensor) -> str:
        """A parameter of the model."""
        name = self._names[id(parameter)]
        self.weights[name] = parameter.detach()
        return name

    def linear(self, states: str, layer: nn.Linear) -> str:
        """A linear layer on `(rows, width)`."""
        return self.product(states, layer.weight, layer.bias)

    def product(self, states: str, weight: Tensor, bias: Tensor) -> str:
        """`states @ weight.T + bias` on `(rows, width)`."""
        name = self._names[id(weight)]
        if self.observes:
            for kind, operation in ((LEAST, "ReduceMin"), (GREATEST, "ReduceMax")):
                self.output(f"{kind}{name}", self.add(operation, states, keepdims=0), ())
        if self.int8 is not None and weight.numel() >= self.int8.smallest:
            return self._int8_product(self.int8, states, name, weight.detach(), bias)
        return self.add("Gemm", states, self.weight(weight), self.weight(bias), transB=1)

    def _int8_product(
        self, int8: Int8, states: str, name: str, weight: Tensor, bias: Tensor
    ) -> str:
        """`product` of whole numbers: states as 0..255, weights as -127..127, a scale for each row.

        The operations stand as onnxruntime's fusion to one kernel looks for them.
        """
        scale, whole = quantise_weight(weight)
        self.weights[f"{name}:int8"], self.weights[f"{name}:scale"] = whole, scale
        found = int8.ranges.get(name)
        if found is None:
            quantised, of_states, zero = self.add_all("DynamicQuantizeLinear", states, outputs=3)
        else:
            of_states, zero = self._range_of(name, *found)
            quantised = self.add("QuantizeLinear", states, of_states, zero)
        sums = self.add("MatMulInteger", quantised, f"{name}:int8", zero)
        scales = self.add("Mul", of_states, f"{name}:scale")
        products = self.add("Mul", self.add("Cast", sums, to=TensorProto.FLOAT), scales)
        return self.add("Add", products, self.weight(bias))

    def _range_of(self, name: str, low: float, high: float) -> tuple[str, str]:
        """Scale and zero point of the states from `low` to `high`, which include 0."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = max((high - low) / 255, float(np.finfo(np.float32).tiny))
        zero = round(-low / scale)
        return (
            self._constant(f"{name}:states", np.array(scale, np.float32)),
            self._constant(f"{name}:zero", np.array(zero, np.uint8)),
        )

    def norm(self, states: str, layer: nn.LayerNorm) -> str:
        """A layer norm."""
        weight, bias = self.weight(layer.weight), self.weight(layer.bias)
        return self.add("LayerNormalization", states, weight, bias, axis=-1, epsilon=layer.eps)

    def reshape(self, states: str, shape: str | Sequence[int]) -> str:
        """To a shape, which is a value or constant; 0 keeps a length, -1 is what is left."""
        return self.add("Reshape", states, shape if isinstance(shape, str) else self.ints(*shape))

    def shape(self, *lengths: str | int) -> str:
        """A shape of constant lengths and of such that are values (lists of one)."""
        parts = [self.ints(one) if isinstance(one, int) else one for one in lengths]
        return self.add("Concat", *parts, axis=0)

    def length(self, value: str, axis: int) -> str:
        """The length of an axis, as a list of one."""
        return self.add("Shape", value, start=axis, end=axis + 1)

    def scalar(self, length: str) -> str:
        """A list of one as a number."""
        return self.reshape(length, self._constant("no_axes", np.array([], np.int64)))

    def attend(
        self, query: str, key: str, value: str, head_width: int, mask: str | None, axes: int
    ) -> str:
        """Scaled dot-product attention of tensors with so many axes; `mask` is added to scores."""
        order = [*range(axes - 2), axes - 1, axes - 2]
        scaled = self.add("Mul", query, self.real(head_width**-0.5))
        scores = self.add("MatMul", scaled, self.add("Transpose", key, perm=order))
        if mask is not None:
            scores = self.add("Add", scores, mask)
        return self.add("MatMul", self.add("Softmax", scores, axis=-1), value)

    def mask(self, visible: str) -> str:
        """What is added to scores, of a boolean that says what may be seen."""
        return self.add("Where", visible, self.real(0.0), self.real(HIDDEN))

    def embed(self, ids: str, positions: str, layer: TextEmbedding) -> str:
        """Words and positions (a list of whole numbers), joined and normalised."""
        words = self.add("Gather", self.weight(layer.words.weight), ids)
        places = self.add("Gather", self.weight(layer.positions.weight), positions)
        return self.norm(self.add("Add", words, places), layer.norm)

    def graph(self, name: str) -> onnx.GraphProto:
        """The graph, whose large weights are still to be stored."""
        constants = [onnx.numpy_helper.from_array(v, n) for n, v in self.constants.items()]
        return helper.make_graph(self.nodes, name, self.inputs, self.outputs, constants)

    def _constant(self, name: str, value: np.ndarray) -> str:
        self.constants[name] = value
        return name


def to_model(graph: onnx.GraphProto, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """A model of one graph."""
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="blip",
    )
    helper.set_model_props(model, dict(metadata))
    return model
