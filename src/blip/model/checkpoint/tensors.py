"""Read the tensors of a file, or of several by their index, without the prefixes of wrappers.

A wrapped model is saved with a prefix before all names: DistributedDataParallel adds `module.`,
torch.compile `_orig_mod.`, a Lightning module the name of its attribute.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_bytes
from safetensors.torch import load_file
from torch import Tensor

from blip.errors import BlipError, UsageError
from blip.files import is_utf8, parse_json
from blip.model.checkpoint.original import is_momentum
from blip.model.checkpoint.pickled import read_pickle, state_dict_in

INDEX = ".index.json"
"""End of the name of an index: a file that maps each tensor to one of several files."""
PARTS = (".safetensors", ".bin")
PART = re.compile(r"-\d+-of-\d+\.(safetensors|bin)$")
"""End of the name of one of several files."""
SHOWN = 4
"""Names that a message shows; all are counted."""

_WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Parts that PyTorch's wrappers add anywhere in a name."""
_STACKS = frozenset(
    ("visual_encoder", "vision_model", "text_encoder", "text_decoder", "vision", "text")
) | {"blocks", "bert", "embeddings"}
"""First parts of the names of all models that are read here."""


class Stored(NamedTuple):
    """The contents of a file of weights."""

    tensors: dict[str, Tensor]
    entries: Mapping[str, object]
    """All entries of a pickled file: the weights, the sizes that we write beside them, or the epoch
    and the optimiser that others do."""


def read_tensors(path: Path, *, checked: bool = True, momentum: bool = True) -> Stored:
    """Read a file of weights, or all files that an index names.

    Checked tensors are float32, finite, and in memory of their own: overwriting the file later does
    not change them. Unchecked tensors may be read from the file when they are used, so that only
    their shapes are reliable. Without `momentum` the momentum encoders and queues, which are as
    large as the model, stay unchecked.

    Raises BlipError, in one line, for a file that is truncated or foreign, for one that an index
    names and that is missing, and for NaN or infinite weights. Nothing is executed.
    """
    entries: Mapping[str, object] = {}
    if path.name.endswith(INDEX):
        state = _read_indexed(path)
    elif PART.search(path.name) and path.with_name(_index_name(path)).is_file():
        raise UsageError(
            f"{path} is one of several files; name their folder, or {_index_name(path)}"
        )
    elif path.suffix == ".safetensors":
        state = read_safetensors(path)
    else:
        entries = read_pickle(path)
        state = state_dict_in(entries, path)
    # Both have the same order; errors use the names of the file.
    names = dict(zip(state, plain_names(state), strict=True))
    if checked:
        needed = [stored for stored, name in names.items() if momentum or not is_momentum(name)]
        copies = _in_float32({stored: state[stored] for stored in needed})
        refuse_not_finite(copies, str(path))
        state |= copies
    return Stored({name: state[stored] for stored, name in names.items()}, entries)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file; raises BlipError if it is truncated or foreign."""
    try:
        # The library opens no path that is not UTF-8.
        return load_file(path) if is_utf8(path) else load_bytes(path.read_bytes())
    except SafetensorError as error:
        raise BlipError(f"{path} is truncated or not a safetensors file: {error}") from error


def refuse_not_finite(tensors: Mapping[str, Tensor], where: str) -> None:
    """Raise BlipError that names the tensors with values that are NaN or infinite."""
    found = [
        f"{name} ({int((~tensor.isfinite()).sum())} of {tensor.numel()} values)"
        for name, tensor in tensors.items()
        if _is_dense(tensor) and not _is_finite(tensor)
    ]
    if found:
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise BlipError(
            f"{where} has NaN or infinite weights in {', '.join(found[:SHOWN])}{more}; "
            "its training diverged, or the file is damaged: take an earlier checkpoint"
        )


def plain_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under names without the parts that wrappers add.

    Names of a model that is not read here stay as they are.
    """
    plain = {_unwrapped(name): tensor for name, tensor in state.items()}
    while not any(_first_part(name) in _STACKS for name in plain):
        prefix = f"{_first_part(next(iter(plain), ''))}."
        if not plain or not all(name.startswith(prefix) for name in plain):
            return dict(state)
        plain = {name.removeprefix(prefix): tensor for name, tensor in plain.items()}
    # Where two names became one, it is not known which tensor is meant.
    return plain if len(plain) == len(state) else dict(state)


def _unwrapped(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _first_part(name: str) -> str:
    return name.partition(".")[0]


def _is_dense(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.layout == torch.strided


def _is_finite(tensor: Tensor) -> bool:
    # A sum is as fast as memory and finite only if all values are; large values may overflow it.
    return bool(tensor.sum().isfinite()) or bool(tensor.isfinite().all())


def _in_float32(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies in float32; tensors that share their memory, as tied ones do, share it again."""
    copies: dict[tuple[object, ...], Tensor] = {}
    converted: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if not _is_dense(tensor):
            converted[name] = tensor
            continue
        place = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if place not in copies:
            copies[place] = tensor.to(torch.float32, copy=True)
        converted[name] = copies[place]
    return converted


def _index_name(part: Path) -> str:
    """The index beside x-00001-of-00002.safetensors: x.safetensors.index.json."""
    return PART.sub(rf".\1{INDEX}", part.name)


def _read_indexed(index: Path) -> dict[str, Tensor]:
    """All tensors of the files that an index names; raises BlipError if one is missing."""
    file_of = _read_index(index)
    state: dict[str, Tensor] = {}
    for name in sorted(set(file_of.values())):
        part = index.with_name(name)
        if not part.is_file():
            raise BlipError(f"{index} names {name}, which is missing in {index.parent}")
        if part.suffix == ".safetensors":
            held = read_safetensors(part)
        else:
            held = state_dict_in(read_pickle(part), part)
        lacking = sorted(n for n, file in file_of.items() if file == name and n not in held)
        if lacking:
            raise BlipError(
                f"{part} lacks {', '.join(lacking[:SHOWN])} ({len(lacking)} tensors) which "
                f"{index.name} says it holds; the files are not of one checkpoint"
            )
        state |= held
    return state


def _read_index(index: Path) -> dict[str, str]:
    """From the name of each tensor to the name of its file."""
    try:
        content: object = parse_json(index.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BlipError(f"{index} is not JSON: {error}") from error
    file_of = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(file_of, dict) or not file_of:
        raise BlipError(f"{index} must hold an object weight_map, from tensors to their files")
    for name in file_of.values():
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(PARTS):
            raise BlipError(
                f"{index}: weight_map must name {' or '.join(PARTS)} files beside it, got {name!r}"
            )
    return file_of
