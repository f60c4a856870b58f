"""Reading PyTorch's own files without running what is in them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blip.errors import BlipError, first_line


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a `.pth` or `.bin` file; raises as `read_pickle` and `state_dict_in` do."""
    return state_dict_in(read_pickle(path), path)


def read_pickle(path: Path) -> Mapping[str, Any]:
    """What a file of PyTorch's holds, its tensors on the CPU.

    Opened with `weights_only=True`: objects other than tensors and plain containers are refused
    and nothing is executed. Raises BlipError, in one line, for a file that is torn or foreign.
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
    """The named tensors, which may lie one level down, as training scripts write them.

    Raises BlipError, in one line, where there are none, or other things among them.
    """
    for key in ("model", "state_dict"):
        if isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not content:
        raise BlipError(f"{path} holds no tensors")
    strangers = [
        str(name)
        for name, value in content.items()
        if not isinstance(value, Tensor) or not isinstance(name, str)
    ]
    if strangers:
        raise BlipError(f"{path} holds other things than tensors: {', '.join(strangers[:5])}")
    return dict(content)


def _is_zip(path: Path) -> bool:
    """Whether it was written by torch 1.6 or later; only such a file can be mapped."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _reason(error: Exception) -> str:
    text = str(error)
    if (
        "Unsupported global" in text
        or "Unsupported operand" in text
        or "weights_only" in text.lower()
    ):
        return "it would run code, or is no file of PyTorch (nothing was executed)"
    return f"it is torn or no file of PyTorch ({first_line(error)[:120]})"
