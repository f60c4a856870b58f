"""How much memory is available, and how much the models need for weights and images."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from blip.capfilt.models.protocols import OutOfMemoryError
from blip.config.ranges import InferencePrecision
from blip.errors import is_out_of_memory
from blip.model.config import ModelConfig
from blip.nn.kernels.int8_weight import has_vnni

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")
LONGEST_TEXT = 64
"""Tokens of a text with which memory is planned; few texts are longer."""


def bytes_of_image(config: ModelConfig, rows: int, precision: InferencePrecision) -> int:
    """Bytes that a model needs at most for an image, when it reads `rows` texts of it at a time.

    These are its pixels, the states of its patches, which the widest part of a layer holds several
    times, and their keys and values of cross-attention in every layer. With weights in int8 they
    are numbers of four bytes, as in float32.
    """
    vision, text = config.vision, config.text
    states = vision.tokens * vision.width
    widest = int(states * (2 * vision.mlp_ratio + 4)) + vision.heads * vision.tokens**2
    image_kv = vision.tokens * text.width * 2 * text.depth
    of_texts = rows * min(text.positions, LONGEST_TEXT) * text.width * 2 * text.depth
    return (2 if precision == "bfloat16" else 4) * (
        3 * vision.image_size**2 + widest + image_kv + of_texts
    )


def bytes_of_weights(config: ModelConfig, precision: InferencePrecision) -> int:
    """About the most bytes that a model's weights take, from loading on.

    In float32 there are two of each, since a CPU reads packed copies, and so there are in int8 on a
    CPU without VNNI, which rounds only a part. Else they are loaded in float32 and then rounded,
    which leaves no more than that.
    """
    vision, text = config.vision, config.text
    of_vision = vision.depth * int(vision.width**2 * (4 + 2 * vision.mlp_ratio))
    of_text = text.depth * (12 * text.width**2 + 2 * text.width * text.mlp_width)
    rounds_all = precision == "bfloat16" or (precision == "int8" and has_vnni())
    copies = 1 if rounds_all else 2
    return copies * 4 * (of_vision + of_text + text.vocabulary_size * text.width)


def available_memory() -> int | None:
    """Bytes of main memory that this process may still take; None where that is unknown."""
    found = []
    with suppress(OSError, ValueError, StopIteration):
        lines = MEMINFO.read_text(encoding="ascii").splitlines()
        line = next(line for line in lines if line.startswith("MemAvailable:"))
        found.append(int(line.split()[1]) * 1024)
    with suppress(OSError, ValueError):
        most = int((CGROUP / "memory.max").read_text(encoding="ascii"))
        used = int((CGROUP / "memory.current").read_text(encoding="ascii"))
        found.append(max(most - used, 0))
    return min(found, default=None)


@contextmanager
def unify_out_of_memory() -> Iterator[None]:
    """Turn every error by which torch or Python reports a lack of memory into OutOfMemoryError."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not (isinstance(error, torch.OutOfMemoryError) or is_out_of_memory(error)):
            raise
        message = str(error).partition("\n")[0]
    else:
        return
    # After the handler, whose error keeps the frames alive that hold the tensors.
    free_memory()
    raise OutOfMemoryError(message)


def free_memory() -> None:
    """Give back what nobody holds any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
