"""A part of the text transformer that encoder and decoder share, or that each has of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from torch import nn

from blip.errors import UsageError
from blip.nn.mode import BOTH_MODES, Mode

Part = TypeVar("Part", bound=nn.Module)

TRANSFORMERS: dict[Mode, str] = {"bidirectional": "text encoder", "causal": "text decoder"}
"""Names of the modes in messages."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shared:
    """Which parts of the text transformer exist once for both modes."""

    embedding: bool
    self_attention: bool
    cross_attention: bool
    mlp: bool


class PerMode(nn.Module, Generic[Part]):
    """One module for both modes, or one for each.

    Sharing is structural: a shared part exists once, under one name, so that checkpoints,
    optimisers and parallel wrappers never meet the same parameter twice. `make` is given the mode
    that its module serves (the first one, when shared).
    """

    def __init__(
        self, make: Callable[[Mode], Part], *, shared: bool, modes: tuple[Mode, ...] = BOTH_MODES
    ) -> None:
        super().__init__()
        self.modes = modes
        self.copies = nn.ModuleDict(
            {"both": make(modes[0])} if shared else {mode: make(mode) for mode in modes}
        )

    @property
    def shared(self) -> bool:
        """Whether both modes use the same module."""
        return "both" in self.copies

    def select(self, mode: Mode) -> Part:
        """The module for `mode`; raises UsageError if the model has no such mode."""
        if mode not in self.modes:
            existing = TRANSFORMERS[self.modes[0]]
            raise UsageError(f"this model has no {TRANSFORMERS[mode]}, only a {existing}")
        return cast(Part, self.copies["both" if self.shared else mode])
