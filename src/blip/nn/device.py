"""The device and the number format of a model, and copies to and from the device."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor

from blip.config.ranges import DEVICE, RangeError
from blip.errors import ArgumentError, UsageError
from blip.log import say_once
from blip.nn.kernels.int8_weight import int8_multiplies
from blip.nn.kernels.onednn import bfloat16_multiplies, float16_multiplies
from blip.nn.kernels.switch import kernels_enabled

NumberFormat = torch.dtype | Literal["int8"]
"""That of the weights of the transformers; in int8 all else is in float32."""
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Those that torch computes every operation of a model in."""


def choose_device(name: str | torch.device) -> torch.device:
    """The device called `name`; `auto` is a GPU where there is one, else the CPU.

    Raises RangeError for an unknown name, UsageError for a GPU that this machine does not have.
    """
    if isinstance(name, torch.device):
        return name
    if not DEVICE.holds(name):
        raise RangeError("device", repr(name), str(DEVICE))
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        found = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if found == 0:
            raise UsageError(f"device is {name!r}, but torch finds no GPU here")
        if (device.index or 0) >= found:
            raise UsageError(f"device is {name!r}; allowed: cuda:0 to cuda:{found - 1}, cpu, auto")
    return device


def as_current(device: torch.device) -> AbstractContextManager[object]:
    """Make a GPU the current one within the block; for a CPU nothing changes.

    What torch does without naming a device, it does on the current GPU: streams, graphs, the state
    of the random numbers, waiting.
    """
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def choose_format(precision: str | torch.dtype, device: torch.device) -> NumberFormat:
    """The number format called `precision`; one of the `DTYPES` stays as it is.

    `auto` is bfloat16 on a GPU that has it, else float32. A GPU that only emulates bfloat16 does
    not have it: there it is slower than float32. A device that only emulates a type that is named
    computes in it all the same, and a line says so. Raises UsageError for int8 on a GPU, and on a
    CPU without its instructions; ArgumentError for other names and types.
    """
    if precision == "int8":
        _check_int8(device)
        return "int8"
    dtype = choose_dtype(precision, device)
    say_if_emulated(dtype, device)
    return dtype


def say_if_emulated(dtype: torch.dtype, device: torch.device) -> None:
    """Say that float32 is faster where this device has no instructions for half precision."""
    if dtype == torch.bfloat16:
        has_it = _has_bfloat16(device)
    else:
        has_it = dtype != torch.float16 or device.type != "cpu" or float16_multiplies()
    if not has_it:
        kind, name = "GPU" if device.type == "cuda" else "CPU", str(dtype).removeprefix("torch.")
        say_once(f"this {kind} only emulates {name}: float32 is many times faster, and more exact")


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        with as_current(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type != "cpu" or bfloat16_multiplies()


def _check_int8(device: torch.device) -> None:
    if device.type != "cpu":
        raise UsageError(f"precision int8 is for CPUs; on {device} use bfloat16 or float32")
    # Without kernels it is emulated, to compare with.
    if kernels_enabled() and not int8_multiplies():
        raise UsageError(
            "precision int8 needs an x86 CPU with AVX2 or VNNI instructions; use float32"
        )


def choose_dtype(precision: str | torch.dtype, device: torch.device) -> torch.dtype:
    """As `choose_format`, but for int8, which it refuses as a name that it does not know."""
    if precision == "auto":
        on_gpu = device.type == "cuda"
        return torch.bfloat16 if on_gpu and _has_bfloat16(device) else torch.float32
    if isinstance(precision, torch.dtype) and precision in DTYPES:
        return precision
    if precision == "float32":
        return torch.float32
    if precision == "bfloat16":
        return torch.bfloat16
    raise ArgumentError(
        "precision must be auto, float32, bfloat16, int8 or one of "
        f"{', '.join(map(str, DTYPES))}, got {precision!r}"
    )


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on `device`; one from the CPU does not wait for the GPU."""
    if not tensor.is_cpu or tensor.device == device:
        return tensor.to(device)
    # Copies are only asynchronous from pinned memory.
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


def fetch(tensor: Tensor) -> Callable[[], Tensor]:
    """Begin to copy a tensor to the CPU; what is returned gives the copy, and waits for it alone.

    A GPU computes meanwhile what is begun in between.
    """
    # Into pinned memory, which torch takes for copies that nobody waits for.
    here = tensor.to("cpu", non_blocking=True)
    if tensor.device.type != "cuda":
        return lambda: here
    copied = torch.cuda.Event()
    copied.record(torch.cuda.current_stream(tensor.device))

    def wait() -> Tensor:
        copied.synchronize()
        return here

    return wait
