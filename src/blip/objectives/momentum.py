"""Slow copies of a module that follow it without a gradient (MoCo; ALBEF, section 3.3)."""

import torch
from torch import Tensor, nn

from blip import dist


class Follower:
    """A module whose parameters follow those of the same name in another, by moving average.

    Both may be moved or sharded afterwards, alike.
    """

    def __init__(self, follower: nn.Module, leader: nn.Module) -> None:
        self.module = follower.eval().requires_grad_(False)
        self.leader = leader
        strangers = dict(follower.named_parameters()).keys() - dict(leader.named_parameters())
        if strangers:
            raise ValueError(f"nothing to follow for {sorted(strangers)[0]}")
        self.copy()

    @torch.no_grad()
    def copy(self) -> None:
        """Make the follower equal to the leader."""
        for mine, theirs in zip(*self._both(), strict=True):
            mine.copy_(theirs)

    @torch.no_grad()
    def follow(self, momentum: float) -> None:
        """Follower = momentum * follower + (1 - momentum) * leader, for every parameter."""
        own, leading = self._both()
        # One fused call for all parameters; torch has no public name for it.
        torch._foreach_lerp_(  # pyright: ignore[reportPrivateImportUsage]
            own, leading, 1.0 - momentum
        )

    def _both(self) -> tuple[list[Tensor], list[Tensor]]:
        """The follower's tensors and those that they follow; of sharded ones what lies here."""
        leading = dict(self.leader.named_parameters())
        own = dict(self.module.named_parameters())
        return [dist.local(own[name]) for name in own], [dist.local(leading[name]) for name in own]
