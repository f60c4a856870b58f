"""The file of an exported folder that says what it holds: format, versions, sizes, precision."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from blip.config.ranges import Range, check_fields
from blip.config.strict import from_json, load_json, save
from blip.errors import BlipError, UsageError
from blip.installed import DISTRIBUTION, version
from blip.model.config import ModelConfig
from blip.outputs import EXPORTED

FORMAT = 1
"""Raised when graphs take or give something else, so that an earlier version refuses them."""

ExportPrecision = Literal["float32", "int8-dynamic", "int8-static"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What an exported folder holds."""

    format: Annotated[int, Range(whole=True, least=1, most=2**31)] = FORMAT
    precision: ExportPrecision = "float32"
    graphs: tuple[str, ...]
    """Names of the files, without `.onnx`."""
    model: ModelConfig
    checkpoint: str
    """The fingerprint of the checkpoint that was exported."""
    written_by: str
    """The version of this package that exported it."""
    onnx: str
    """The version of the library that wrote the graphs."""
    opset: Annotated[int, Range(whole=True, least=1, most=2**31)]

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_fields(self)


def is_exported(source: str | Path) -> bool:
    """Whether this is a folder that `blip convert --to onnx` wrote."""
    return (Path(source) / EXPORTED).is_file()


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write it into an existing folder."""
    save(manifest, folder / EXPORTED)


def read_manifest(folder: str | Path) -> Manifest:
    """What an exported folder holds.

    Raises UsageError if this is none, and BlipError if the file is broken or a later version
    wrote it.
    """
    path = Path(folder) / EXPORTED
    if not path.is_file():
        raise UsageError(
            f"{folder} is not an exported folder (it has no {EXPORTED}); "
            "`blip convert CKPT FOLDER --to onnx` writes one"
        )
    content = load_json(path)
    number = content.get("format") if isinstance(content, dict) else None
    if isinstance(number, int) and number > FORMAT:
        raise BlipError(
            f"{path} has format {number}, which a later version of {DISTRIBUTION} wrote; "
            f"version {version()} reads formats up to {FORMAT}: pip install -U {DISTRIBUTION}"
        )
    try:
        return from_json(Manifest, content)
    except UsageError as error:
        raise BlipError(f"{path}: {error}") from error
