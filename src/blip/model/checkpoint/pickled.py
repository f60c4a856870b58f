"""Reading PyTorch's own files without running what is in them."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blip.errors import BlipError, first_line

CONTAINERS = ("model", "state_dict", "model_state_dict", "module")
"""Keys below which trainers put the weights: the original release and DeiT, Lightning, tutorials of
PyTorch, DeepSpeed."""
LEVELS = 3
"""How deep they are looked for: a hostile file may hold a dictionary that holds itself."""


def read_pickle(path: Path) -> Mapping[str, Any]:
    """What a file of PyTorch's holds, its tensors on the CPU.

    Opened with `weights_only=True`: objects other than tensors and plain containers are refused
    and nothing is executed. Raises BlipError, in one line, for a file that is truncated or foreign.
    """
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    # torch raises whatever its parsers meet: UnpicklingError, RuntimeError, EOFError, KeyError ...
    except Exception as error:
        raise BlipError(f"{path} cannot be read as weights: {_reason(error)}") from error
    if not isinstance(content, Mapping):
        raise BlipError(f"{path} holds no named tensors, but {type(content).__name__}")
    return content


def state_dict_in(content: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """The named tensors, which may lie some levels down, as training scripts write them.

    Raises BlipError, in one line, where there are none, or other things among them.
    """
    for _ in range(LEVELS):
        inner = [content[key] for key in CONTAINERS if isinstance(content.get(key), Mapping)]
        content = inner[0] if inner else content
    if not content:
        raise BlipError(f"{path} holds no tensors")
    others = [
        str(name)
        for name, value in content.items()
        if not isinstance(value, Tensor) or not isinstance(name, str)
    ]
    if others:
        raise BlipError(
            f"{path} holds other objects than tensors: {', '.join(others[:5])}; weights must lie "
            f"alone in it, or below one of {', '.join(CONTAINERS)}"
        )
    return dict(content)


def _is_zip(path: Path) -> bool:
    """Whether it was written by torch 1.6 or later; only such a file can be mapped."""
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
