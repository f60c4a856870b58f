"""config.json of our own layout: sizes of a model, its origin, and the number of the format.

`outputs.CHECKPOINT` lists the files of a checkpoint. Format 0, which has no number, format 1 and
format 2, which states the origin, have the same: weights under the names of the model, momentum
weights where they were kept, the tokenizer. The number grows when an earlier version could no
longer read a folder, or would read it wrongly.
"""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args

from blip.config.strict import from_json, to_json, unknown_key
from blip.errors import BlipError, UsageError
from blip.installed import DISTRIBUTION, version
from blip.model.config import ModelConfig

FORMAT = 2
"""What this version writes, and the last one that it reads."""
_KEY = "format"
_ORIGIN = "origin"

Origin = Literal["trained", "released"]
"""Who made the weights: training with `blip`, or somebody else, whose checkpoint was converted."""


def sizes_to_json(config: ModelConfig, origin: Origin) -> dict[str, Any]:
    """The content of config.json."""
    return {_KEY: FORMAT, _ORIGIN: origin, **to_json(config)}


def origin_from_json(content: Mapping[str, Any], path: Path) -> Origin:
    """The origin of the weights beside the config.json at `path`.

    Formats before 2 do not state it, and pass for released. Raises BlipError for any other value.
    """
    origin = content.get(_ORIGIN, "released")
    if origin not in get_args(Origin):
        raise BlipError(f"{path}: {_ORIGIN} must be trained or released, got {origin!r}")
    return origin


def sizes_from_json(content: Mapping[str, Any], path: Path) -> ModelConfig:
    """Sizes from the content of the config.json at `path`, of any format up to `FORMAT`.

    Raises BlipError for a later format, an unknown key, and sizes that cannot be.
    """
    check_format(content, path)
    sizes = {name: value for name, value in content.items() if name not in (_KEY, _ORIGIN)}
    allowed = [_KEY, _ORIGIN, *(field.name for field in fields(ModelConfig))]
    try:
        if unknown := sizes.keys() - set(allowed):
            raise unknown_key(min(unknown), allowed)
        return from_json(ModelConfig, sizes)
    except UsageError as error:
        # The file is broken, as weights may be: no argument or configuration of a user is wrong.
        raise BlipError(f"{path}: {error}") from error


def check_format(content: Mapping[str, Any], path: Path) -> None:
    """Raise BlipError where a later version wrote the config.json at `path`."""
    number = content.get(_KEY, 0)
    if type(number) is not int or number < 0:
        raise BlipError(f"{path}: {_KEY} must be a whole number from 0 on, got {number!r}")
    if number > FORMAT:
        raise BlipError(
            f"{path} has format {number}, which a later version of {DISTRIBUTION} wrote; "
            f"version {version()} reads formats up to {FORMAT}: pip install -U {DISTRIBUTION}"
        )
