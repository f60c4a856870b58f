"""Collectives that are the identity in one process."""

import torch
from torch import Tensor, distributed


def world_size() -> int:
    """Number of processes that train together."""
    return distributed.get_world_size() if _grouped() else 1


def rank() -> int:
    """Number of this process among them."""
    return distributed.get_rank() if _grouped() else 0


def is_main() -> bool:
    """Whether this process is the one that writes files and shows progress."""
    return rank() == 0


def barrier() -> None:
    """Wait for all processes."""
    if _grouped():
        distributed.barrier()


def gather_rows(rows: Tensor) -> Tensor:
    """Rows of all processes in the order of their ranks; the rows themselves when alone."""
    if world_size() == 1:
        return rows
    parts = [torch.empty_like(rows) for _ in range(world_size())]
    distributed.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


def reduce_mean(value: Tensor) -> Tensor:
    """Mean over all processes; the value itself when alone."""
    if world_size() == 1:
        return value
    total = value.clone()
    distributed.all_reduce(total)
    return total / world_size()


def _grouped() -> bool:
    return distributed.is_available() and distributed.is_initialized()
