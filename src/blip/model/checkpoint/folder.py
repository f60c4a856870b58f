"""The model's part of a checkpoint folder: model.safetensors and config.json."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from blip.config.strict import from_json, to_json
from blip.errors import BlipError, UsageError
from blip.files import write_json
from blip.model.blip import Blip
from blip.model.config import ModelConfig

WEIGHTS, CONFIG = "model.safetensors", "config.json"


def write_weights(model: Blip, folder: Path) -> None:
    """Write weights (float32, as they are named in `Blip`) and sizes into an existing folder."""
    tensors = {name: value.detach().contiguous() for name, value in model.state_dict().items()}
    save_file(tensors, folder / WEIGHTS)
    write_json(folder / CONFIG, to_json(model.config))


def read_weights(folder: Path, device: torch.device | str = "cpu") -> Blip:
    """The model of a checkpoint folder, in evaluation mode.

    Raises BlipError where a file is torn or the weights are not those of config.json, and
    UsageError where config.json does not describe a model.
    """
    try:
        sizes = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except ValueError as error:
        raise BlipError(f"{folder / CONFIG} is not JSON: {error}") from error
    config = from_json(ModelConfig, sizes, where=str(folder / CONFIG))
    try:
        tensors = load_file(folder / WEIGHTS, device=str(device))
    except SafetensorError as error:
        raise BlipError(f"{folder / WEIGHTS} is torn or no safetensors file: {error}") from error
    with torch.device("meta"):
        model = Blip(config)
    _compare(folder, {k: v.shape for k, v in model.state_dict().items()}, tensors)
    model.load_state_dict(tensors, assign=True)
    return model.eval()


def _compare(folder: Path, expected: dict[str, torch.Size], found: dict[str, torch.Tensor]) -> None:
    faults = [f"lacks {name}" for name in expected.keys() - found.keys()]
    faults += [f"has a stranger {name}" for name in found.keys() - expected.keys()]
    faults += [
        f"{name} has shape {tuple(found[name].shape)}, not {tuple(shape)}"
        for name, shape in expected.items()
        if name in found and found[name].shape != shape
    ]
    if faults:
        shown = "; ".join(sorted(faults)[:5])
        more = f" and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise BlipError(f"{folder / WEIGHTS} does not fit its {CONFIG}: {shown}{more}")


def find_checkpoint(path: str | Path) -> Path:
    """The checkpoint folder that `path` names: itself, or the `checkpoint` of a run folder.

    Raises UsageError where there is none, naming those that lie below.
    """
    path = Path(path)
    for folder in (path, path / "checkpoint"):
        if (folder / WEIGHTS).is_file() and (folder / CONFIG).is_file():
            return folder
    if not path.exists():
        raise UsageError(f"no checkpoint at {path}: no such folder")
    below = sorted(
        str(found.parent.parent if found.parent.name == "checkpoint" else found.parent)
        for found in path.glob(f"**/checkpoint/{WEIGHTS}")
    )
    hint = f"; it holds {', '.join(below[:6])}" if below else f" (it has no {WEIGHTS})"
    raise UsageError(f"{path} is no checkpoint folder{hint}")
