"""Slow copies of a module that follow it without a gradient (MoCo; ALBEF, section 3.3)."""

import torch
from torch import Tensor, nn


class Follower:
    """A module whose parameters follow those of the same name in another, by moving average."""

    def __init__(self, follower: nn.Module, leader: nn.Module) -> None:
        self.module = follower.eval().requires_grad_(False)
        leading = dict(leader.named_parameters())
        own = dict(follower.named_parameters())
        strangers = own.keys() - leading.keys()
        if strangers:
            raise ValueError(f"nothing to follow for {sorted(strangers)[0]}")
        self._own: list[Tensor] = [own[name].data for name in own]
        self._leading: list[Tensor] = [leading[name] for name in own]
        self.copy()

    @torch.no_grad()
    def copy(self) -> None:
        """Make the follower equal to the leader."""
        for mine, theirs in zip(self._own, self._leading, strict=True):
            mine.copy_(theirs)

    @torch.no_grad()
    def follow(self, momentum: float) -> None:
        """Follower = momentum * follower + (1 - momentum) * leader, for every parameter."""
        leading = [parameter.data for parameter in self._leading]
        # One fused call for all parameters; torch has no public name for it.
        torch._foreach_lerp_(  # pyright: ignore[reportPrivateImportUsage]
            self._own, leading, 1.0 - momentum
        )
