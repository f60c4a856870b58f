"""config.json of our own layout: the sizes of a model, and the number of the layout's format.

`outputs.CHECKPOINT` lists the files of a checkpoint. Format 0, which has no number, and format 1
have the same: weights under the names of the model, momentum weights where they were kept, the
tokenizer. The number grows when an earlier version could no longer read a folder, or would read it
wrongly.
"""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from blip.config.strict import from_json, to_json, unknown_key
from blip.errors import BlipError, UsageError
from blip.installed import DISTRIBUTION, version
from blip.model.config import ModelConfig

FORMAT = 1
"""What this version writes, and the last one that it reads."""
_KEY = "format"


def sizes_to_json(config: ModelConfig) -> dict[str, Any]:
    """The content of config.json."""
    return {_KEY: FORMAT, **to_json(config)}


def sizes_from_json(content: Mapping[str, Any], path: Path) -> ModelConfig:
    """Sizes from the content of the config.json at `path`, of any format up to `FORMAT`.

    Raises BlipError for a later format, an unknown key, and sizes that cannot be.
    """
    check_format(content, path)
    sizes = {name: value for name, value in content.items() if name != _KEY}
    allowed = [_KEY, *(field.name for field in fields(ModelConfig))]
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
