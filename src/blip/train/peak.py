"""How many floating-point operations a second a device can do at best, in a number format."""

import re
import time
from functools import cache
from typing import NamedTuple

import torch

from blip.config.ranges import Precision


class Rates(NamedTuple):
    """Tera-operations a second of dense matrix products; None where there is no such unit."""

    bfloat16: float | None
    tf32: float | None
    float32: float


# From the makers' data sheets, without sparsity. The first pattern that is found in a name counts.
GPUS: tuple[tuple[str, Rates], ...] = (
    (r"\bGH200|\bH200|\bH100.*HBM3|\bH100 SXM", Rates(989.4, 494.7, 66.9)),
    (r"\bH100 NVL", Rates(835.0, 417.5, 60.0)),
    (r"\bH100 PCIe", Rates(756.0, 378.0, 51.2)),
    (r"\bA100", Rates(312.0, 156.0, 19.5)),
    (r"\bA30\b", Rates(165.0, 82.0, 10.3)),
    (r"\bA40\b", Rates(149.7, 74.8, 37.4)),
    (r"\bA10\b", Rates(125.0, 62.5, 31.2)),
    (r"\bL40S\b", Rates(362.0, 183.0, 91.6)),
    (r"\bL4\b", Rates(121.0, 60.0, 30.3)),
    (r"\bV100S", Rates(None, None, 16.4)),
    (r"\bV100.*SXM", Rates(None, None, 15.7)),
    (r"\bV100.*PCIE", Rates(None, None, 14.1)),
    (r"\bT4\b", Rates(None, None, 8.1)),
    (r"\bRTX 4090\b", Rates(165.2, 82.6, 82.6)),
    (r"\bRTX 3090\b", Rates(71.0, 35.6, 35.6)),
)

SIDE = 1024
"""Of the matrices that a CPU is measured with."""
TRIES = 5


def peak_rate(device: torch.device, precision: Precision) -> float | None:
    """Operations a second of a device at best: of a GPU as its data sheet says, of a CPU measured.

    None for a GPU that is not in the table, and for a format that it has no unit for. In float32
    the matrix unit (TF32) counts where torch is allowed to use it.
    """
    if device.type == "cuda":
        fast = torch.get_float32_matmul_precision() != "highest"
        return gpu_rate(torch.cuda.get_device_name(device), precision, tf32=fast)
    return measured_rate(precision, torch.get_num_threads()) if device.type == "cpu" else None


def gpu_rate(name: str, precision: Precision, *, tf32: bool) -> float | None:
    """Operations a second of the GPU of that name, as torch calls it."""
    for pattern, rates in GPUS:
        if re.search(pattern, name, re.IGNORECASE):
            if precision == "bfloat16":
                tera = rates.bfloat16
            else:
                tera = (rates.tf32 if tf32 else None) or rates.float32
            return None if tera is None else tera * 1e12
    return None


@cache
def measured_rate(precision: Precision, threads: int) -> float:
    """Operations a second of this CPU, by the best of a few matrix products.

    `threads` is torch's number of them: a process measures once for each number. Draws nothing at
    random: the run continues as if it had not been measured.
    """
    matrix = torch.full((SIDE, SIDE), 0.5, dtype=getattr(torch, precision))
    best = float("inf")
    with torch.no_grad():
        for _ in range(TRIES):
            began = time.perf_counter()
            torch.mm(matrix, matrix)
            best = min(best, time.perf_counter() - began)
    return 2.0 * SIDE**3 / max(best, 1e-9)
