"""Rows of like length together, so that a pass over texts pays for little padding."""

from collections.abc import Callable

import torch
from jaxtyping import Bool
from torch import Tensor

ROWS = 32
"""Fewest rows of a group; smaller ones cost more in calls than they save in padding."""
GROUPS = 4


def length_groups(visible: Bool[Tensor, "rows length"]) -> list[tuple[Tensor, int]]:
    """Row numbers `(group,)` of each group, shortest texts first, and the group's longest text."""
    rows = len(visible)
    lengths = visible.sum(dim=1)
    groups = max(1, min(GROUPS, rows // ROWS))
    if groups == 1:
        return [(torch.arange(rows, device=visible.device), int(lengths.max()))]
    order = lengths.argsort()
    return [(index, int(lengths[index[-1]])) for index in order.chunk(groups)]


def in_length_groups(
    visible: Bool[Tensor, "rows length"], compute: Callable[[Tensor, int], Tensor]
) -> Tensor:
    """`compute(index, length)` for every group, put together in the order of the rows.

    The result's first axis must be that of `index`; it is that of one call for all rows.
    """
    groups = length_groups(visible)
    parts = torch.cat([compute(index, length) for index, length in groups])
    return parts[torch.cat([index for index, _ in groups]).argsort()]
