"""Read PyTorch's own files without executing what they contain."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from blip.errors import BlipError, first_line

CONTAINERS = ("model", "state_dict", "model_state_dict", "module")
"""Keys under which weights are stored: by the original release and DeiT, Lightning, PyTorch's
tutorials, DeepSpeed."""
LEVELS = 3
"""Depth of the search for these keys: a hostile file may hold a dictionary that holds itself."""


def read_pickle(path: Path) -> Mapping[str, object]:
    """The contents of a file of PyTorch, its tensors on the CPU.

    Opened with `weights_only=True`: objects other than tensors and plain containers are refused
    and nothing is executed. Raises BlipError, in one line, for a file that is truncated or foreign.
    """
    try:
        content: object = torch.load(
            path, map_location="cpu", weights_only=True, mmap=_is_zip(path)
        )
    # torch passes on the errors of its parsers: UnpicklingError, RuntimeError, EOFError and more.
    except Exception as error:
        raise BlipError(f"{path} cannot be read as weights: {_reason(error)}") from error
    if not isinstance(content, Mapping):
        raise BlipError(f"{path} holds no named tensors, but {type(content).__name__}")
    return content


def state_dict_in(content: Mapping[str, object], path: Path) -> dict[str, Tensor]:
    """The named tensors, which training scripts may store some levels down.

    Raises BlipError, in one line, if there are none, or other objects among them.
    """
    for _ in range(LEVELS):
        entries = (content.get(key) for key in CONTAINERS)
        content = next((entry for entry in entries if isinstance(entry, Mapping)), content)
    if not content:
        raise BlipError(f"{path} holds no tensors")
    tensors: dict[str, Tensor] = {}
    others: list[str] = []
    for name, value in content.items():
        if isinstance(value, Tensor) and isinstance(name, str):
            tensors[name] = value
        else:
            others.append(str(name))
    if others:
        raise BlipError(
            f"{path} holds other objects than tensors: {', '.join(others[:5])}; weights must lie "
            f"alone in it, or below one of {', '.join(CONTAINERS)}"
        )
    return tensors


def _is_zip(path: Path) -> bool:
    """Whether torch 1.6 or later wrote the file; only such a file can be mapped into memory."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _reason(error: Exception) -> str:
    text = str(error)
    if found := re.search(r"Unsupported global: GLOBAL (\S+)", text):
        return (
            f"beside tensors it holds an object of {found[1]}, and to load that can run code "
            "(nothing was executed); save its state_dict alone with the program that wrote it"
        )
    if "Unsupported operand" in text or "weights_only" in text.lower():
        return "it would run code, or is not a file of PyTorch (nothing was executed)"
    return f"it is truncated or not a file of PyTorch ({first_line(error)[:120]})"
