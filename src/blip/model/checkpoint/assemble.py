"""Assemble a model from tensors and sizes, or list all that does not fit."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from blip.errors import BlipError
from blip.model.config import ModelConfig
from blip.model.make import Model, make_model

SHOWN = 12
"""Names that a message shows of each kind of fault; all are counted."""

Shape = tuple[int, ...]


@dataclass(slots=True)
class Faults:
    """All faults of a checkpoint's tensors, by kind."""

    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    misshapen: list[str] = field(default_factory=list)
    untied: list[str] = field(default_factory=list)
    unreal: list[str] = field(default_factory=list)

    def compare(self, expected: Mapping[str, Shape], found: Mapping[str, Shape]) -> None:
        """Note the names that only one side has, and different shapes under the same name."""
        self.missing += expected.keys() - found.keys()
        self.unexpected += found.keys() - expected.keys()
        self.misshapen += [
            f"{name} {found[name]} instead of {shape}"
            for name, shape in expected.items()
            if name in found and found[name] != shape
        ]

    def raise_any(self, where: str) -> None:
        """Raise BlipError with the list of all faults, if there is one."""
        lines = [
            *_line("lacks", self.missing),
            *_line("has unexpected keys:", self.unexpected),
            *_line("has other shapes:", self.misshapen),
            *_line("has tied tensors that differ:", self.untied),
            *_line("has tensors that are not dense real numbers:", self.unreal),
        ]
        if lines:
            raise BlipError(f"{where} does not fit:\n" + "\n".join(lines))


def _line(what: str, names: Iterable[str]) -> list[str]:
    names = sorted(names)
    if not names:
        return []
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return [f"  {what} {', '.join(names[:SHOWN])}{more}"]


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, Shape]:
    """The shape of each tensor, by its name."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def not_real(tensors: Iterable[tuple[str, Tensor]]) -> list[str]:
    """The names of tensors that cannot be weights: sparse, quantised, integer or complex ones."""
    return [
        f"{name} ({tensor.dtype})".replace("torch.", "")
        for name, tensor in tensors
        if not tensor.is_floating_point() or tensor.layout != torch.strided
    ]


def expected_shapes(config: ModelConfig) -> dict[str, Shape]:
    """Every tensor of a model of these sizes, under our names."""
    with torch.device("meta"):
        return shapes_of(make_model(config).state_dict())


def assemble(config: ModelConfig, tensors: Mapping[str, Tensor], where: str) -> Model:
    """The model that has these tensors, in evaluation mode.

    Raises BlipError with the list of all that does not fit; `where` is the file, for the message.
    """
    with torch.device("meta"):
        model = make_model(config)
    faults = Faults(unreal=not_real(tensors.items()))
    faults.compare(shapes_of(model.state_dict()), shapes_of(tensors))
    faults.raise_any(where)
    model.load_state_dict(_apart(tensors), assign=True)
    return model.eval()


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors no two of which begin at the same place in memory, as tied ones of a file do.

    Training one parameter must not change another.
    """
    apart: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        begins = tensor.data_ptr()
        apart[name] = tensor.clone() if begins in seen else tensor
        seen.add(begins)
    return apart
