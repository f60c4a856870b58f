"""A part of the text transformer that encoder and decoder share, or that each of them owns."""

from collections.abc import Callable, Iterator
from typing import Generic, Literal, TypeVar, cast

from torch import nn

Mode = Literal["bidirectional", "causal"]
"""How the text transformer reads: as an encoder or as a decoder."""

BOTH_MODES: tuple[Mode, ...] = ("bidirectional", "causal")

Part = TypeVar("Part", bound=nn.Module)


class PerMode(nn.Module, Generic[Part]):
    """One module that serves every mode, or one module for each.

    Sharing is structural: a shared part exists once, under one name, so that checkpoints,
    optimisers and parallel wrappers never meet the same parameter twice.
    """

    def __init__(
        self, make: Callable[[], Part], *, shared: bool, modes: tuple[Mode, ...] = BOTH_MODES
    ) -> None:
        super().__init__()
        names = ("both",) if shared else modes
        self.copies = nn.ModuleDict({name: make() for name in names})

    @property
    def shared(self) -> bool:
        """Whether one module serves every mode."""
        return "both" in self.copies

    def select(self, mode: Mode) -> Part:
        """The module that serves `mode`."""
        return cast(Part, self.copies["both" if self.shared else mode])

    def each(self) -> Iterator[Part]:
        """The modules, each once."""
        return (cast(Part, module) for module in self.copies.values())
