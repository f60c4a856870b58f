"""Processes that train together; every collective is the identity in one process.

Rank `r` of `n` holds the rows `r`, `r + n`, `r + 2 n`, ... of a global batch: that batch, and all
that is made of it, is the same however many processes share it.
"""

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from jaxtyping import Int, Shaped
from torch import Tensor, distributed

from blip.errors import BlipError, StoppedError, UsageError, first_line

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

T = TypeVar("T")

COLLECTIVE_TIMEOUT = timedelta(minutes=10)
"""How long a collective waits for the other processes before the run ends with an error."""
SHARES_TIMEOUT = timedelta(days=7)
"""The same where each process first does a share of the work, which may be larger than others'."""


@contextmanager
def processes(device: str = "auto", timeout: timedelta = COLLECTIVE_TIMEOUT) -> Iterator[None]:
    """Join the other processes that torchrun started; without torchrun there is one process.

    `device` is where they compute: over NCCL on GPUs (auto, cuda), over Gloo on CPUs. `timeout` is
    how long one waits for the others. Raises UsageError if there are fewer GPUs than processes,
    and if all are to take the same one.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ or _grouped():
        yield
        return
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        number = os.environ.get(name, "0")
        if not (number.isascii() and number.isdecimal()):
            raise UsageError(
                f"{name} is {number!r} in the environment; allowed: a number, as torchrun sets it"
            )
    if ":" in device and int(os.environ["WORLD_SIZE"]) > 1:
        raise UsageError(
            f"device is {device!r}, but each of the processes that torchrun started takes a GPU of "
            "its own; allowed: auto, cuda, cpu"
        )
    backend = "gloo"
    if torch.cuda.is_available() and device != "cpu":
        here = int(os.environ.get("LOCAL_RANK", "0"))
        if here >= torch.cuda.device_count():
            raise UsageError(
                f"torchrun started process {here} on a machine of {torch.cuda.device_count()} "
                "GPUs; --nproc-per-node must not be above that number"
            )
        torch.cuda.set_device(here)
        backend = "cpu:gloo,cuda:nccl"
    try:
        distributed.init_process_group(backend, timeout=timeout)
    except (ValueError, RuntimeError) as error:
        raise BlipError(
            f"cannot join the processes that torchrun started: {first_line(error)}"
        ) from (error)
    try:
        yield
    except StoppedError as stop:
        # All stop after the same step, with the same words.
        stop.is_printed_elsewhere = not is_main()
        _leave()
        raise
    # Not after another error: the other processes may be stuck in a collective.
    _leave()


def _leave() -> None:
    """Leave the group of processes, once all of them are done."""
    # Models in reference cycles hold the group: its threads must end before the interpreter does,
    # or the process aborts after all its work.
    gc.collect()
    distributed.destroy_process_group()


def world_size() -> int:
    """Number of processes that train together."""
    return distributed.get_world_size() if _grouped() else 1


def rank() -> int:
    """Rank of this process, from 0."""
    return distributed.get_rank() if _grouped() else 0


def is_main() -> bool:
    """Whether this is rank 0, which writes files and shows progress."""
    return rank() == 0


def barrier() -> None:
    """Wait for all processes."""
    if _grouped():
        distributed.barrier()


def own_rows(count: int, device: torch.device | str = "cpu") -> Int[Tensor, " count"]:
    """Indices in the global batch of the `count` rows that this process holds."""
    return torch.arange(count, device=device) * world_size() + rank()


@torch.no_grad()
def gather_rows(rows: Shaped[Tensor, "count *rest"]) -> Shaped[Tensor, "all *rest"]:
    """The rows of all processes in the order of the global batch, without a gradient."""
    if world_size() == 1:
        return rows
    parts = [torch.empty_like(rows) for _ in range(world_size())]
    distributed.all_gather(parts, rows.contiguous())
    return torch.stack(parts, dim=1).flatten(0, 1)


def longest_length(length: int) -> int:
    """The greatest of the lengths of all processes."""
    if world_size() == 1:
        return length
    # On the CPU, so that nothing waits for a busy GPU.
    longest = torch.tensor(length)
    distributed.all_reduce(longest, op=distributed.ReduceOp.MAX)
    return int(longest)


@torch.no_grad()
def total(value: Tensor) -> Tensor:
    """Sum over all processes, without a gradient."""
    if world_size() == 1:
        return value.detach()
    found = value.detach().clone()
    distributed.all_reduce(found)
    return found


def mean(value: Tensor) -> Tensor:
    """Mean over all processes, without a gradient."""
    return total(value) / world_size()


def first_not_none(value: int | None) -> int | None:
    """The value of the lowest rank that has one; every process gets the same."""
    if world_size() == 1:
        return value
    mine = torch.tensor(-1 if value is None else value)
    parts = [torch.empty_like(mine) for _ in range(world_size())]
    # On the CPU, so that nothing waits for a busy GPU.
    distributed.all_gather(parts, mine)
    found = [int(part) for part in parts if int(part) != -1]
    return found[0] if found else None


def is_same(value: int) -> bool:
    """Whether all processes hold the same number."""
    if world_size() == 1:
        return True
    parts = [torch.empty((), dtype=torch.int64) for _ in range(world_size())]
    distributed.all_gather(parts, torch.tensor(value))
    return all(int(part) == value for part in parts)


def on_main(work: Callable[[], T]) -> T:
    """Run `work` on rank 0 only; every process returns its value or raises its BlipError."""
    value, error = None, None
    if is_main():
        try:
            value = work()
        except BlipError as raised:
            error = raised
    if world_size() > 1:
        outcome: list[Any] = [value, error]
        distributed.broadcast_object_list(outcome, src=0, device=torch.device("cpu"))
        value, error = outcome
    if error is not None:
        error.is_printed_elsewhere = not is_main()
        raise error
    return cast("T", value)


def own_share(count: int) -> range:
    """The places from 0 to `count` that fall to this process: equal runs, in the order of ranks."""
    ranks = world_size()
    return range(count * rank() // ranks, count * (rank() + 1) // ranks)


def share_out(count: int, work: Callable[[range], list[T]]) -> list[T] | None:
    """What `work` gives for the places from 0 to `count`, which the processes share.

    In their order, on rank 0; None on the others, which have nothing more to do with it.
    """
    found = gather_lists(work(own_share(count)))
    return found if is_main() else None


def gather_lists(values: list[T]) -> list[T]:
    """The items of all processes in the order of ranks, on rank 0; an empty list on the others."""
    return [value for part in gather_objects(values) or () for value in part]


def gather_objects(value: Any) -> list[Any] | None:
    """The values of all processes in the order of ranks, on rank 0; None on the others."""
    if world_size() == 1:
        return [value]
    found: list[Any] | None = [None] * world_size() if is_main() else None
    distributed.gather_object(value, found)
    return found


@torch.no_grad()
def whole(tensor: Tensor) -> Tensor:
    """The full tensor of a sharded one, on every process, without a gradient; others unchanged."""
    return tensor.detach() if (sharded := _sharded(tensor)) is None else sharded.full_tensor()


@torch.no_grad()
def local(tensor: Tensor) -> Tensor:
    """This process's part of a sharded tensor, without a gradient; others unchanged."""
    return tensor.detach() if (sharded := _sharded(tensor)) is None else sharded.to_local()


def _sharded(tensor: Tensor) -> "DTensor | None":
    """The tensor where it is sharded."""
    if not _grouped():
        return None
    # It takes half a second to load, and one process has no use for it.
    from torch.distributed.tensor import DTensor

    return tensor if isinstance(tensor, DTensor) else None


def _grouped() -> bool:
    return distributed.is_available() and distributed.is_initialized()
