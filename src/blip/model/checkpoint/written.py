"""Write the contents of a checkpoint in a layout: ours, the original's or Hugging Face's."""

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from blip.config.strict import to_json
from blip.files import give_usual_mode, hidden_beside, write_json
from blip.model.checkpoint.contents import OUR_KEY, Contents
from blip.model.checkpoint.format import sizes_to_json
from blip.model.checkpoint.huggingface import SpecialIds, to_huggingface, write_sizes
from blip.model.checkpoint.momentum import momentum_to_original
from blip.model.checkpoint.original import Kind, names_of, to_original
from blip.outputs import MOMENTUM, SIZES, WEIGHTS


def write_ours(contents: Contents, folder: Path) -> None:
    """Write weights (float32, as they are named in the model) and sizes into an existing folder.

    The folder has the newest format of our layout.
    """
    _save(contents.tensors, folder / WEIGHTS)
    if contents.momentum:
        _save(contents.momentum, folder / MOMENTUM)
    write_json(folder / SIZES, sizes_to_json(contents.config, contents.origin))


def write_original(contents: Contents, path: Path) -> None:
    """Write a `.pth` as the original release does, with the sizes beside "model"."""
    part = hidden_beside(path, "part")
    try:
        with part.open("wb") as file:
            torch.save({"model": original_state(contents), OUR_KEY: to_json(contents.config)}, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_huggingface(contents: Contents, ids: SpecialIds, folder: Path) -> None:
    """Write model.safetensors and config.json as transformers reads them, into a folder.

    That layout has no place for a matcher's temperature. Raises UsageError for kinds of models for
    which transformers has no class.
    """
    write_json(folder / SIZES, write_sizes(_huggingface_kind(contents), contents.config, ids))
    _save(huggingface_state(contents), folder / WEIGHTS, metadata={"format": "pt"})


def original_state(contents: Contents) -> dict[str, Tensor]:
    """All tensors, momentum encoders and queues too, as the original release names them."""
    state = to_original(names_of(contents.kind, contents.config), contents.tensors)
    return state | momentum_to_original(contents.config, contents.momentum)


def huggingface_state(contents: Contents) -> dict[str, Tensor]:
    """The tensors that transformers' class for this kind of model has, as it names them."""
    return to_huggingface(names_of(_huggingface_kind(contents), contents.config), contents.tensors)


def _huggingface_kind(contents: Contents) -> Kind:
    return "itm" if contents.kind == "retrieval" else contents.kind


def _save(
    tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str] | None = None
) -> None:
    """Write a safetensors file that others may read; the library lets only its owner read it."""
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(contiguous, path, metadata=metadata)
    give_usual_mode(path)
