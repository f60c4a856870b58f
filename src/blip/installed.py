"""The installed distribution: its name, its version, and its optional extras."""

import importlib
from typing import Any

from blip.errors import UsageError

DISTRIBUTION = "blip-capfilt"
"""The name on the package index, where `blip` is somebody else's project."""
REQUIRED = frozenset(
    {
        *("torch", "numpy", "PIL", "tokenizers", "safetensors", "huggingface_hub", "pyarrow"),
        *("braceexpand", "filelock", "jinja2", "jaxtyping", "rich", "matplotlib"),
        *("pycocoevalcap", "tenacity", "shtab"),
    }
)
"""Libraries that the distribution installs without any extra, by the name of their import."""


def version() -> str:
    """The installed version; "unknown" where the source tree runs without an installation."""
    from importlib import metadata

    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "unknown"


def install(extra: str) -> str:
    """The command that installs an extra."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def describe_missing(error: BaseException) -> str | None:
    """What to do about an import of a required library that failed; None for any other error."""
    if isinstance(error, ModuleNotFoundError) and error.name in REQUIRED:
        return f"{error.name} is not installed; pip install {DISTRIBUTION}"
    return None


def missing(name: str, extra: str, error: ImportError) -> UsageError:
    """The error for a library that an extra installs and that cannot be imported."""
    problem = "is not installed" if isinstance(error, ModuleNotFoundError) else "cannot be imported"
    return UsageError(f"{name} {problem} ({error}); {install(extra)}")


def need(module: str, name: str, extra: str) -> Any:
    """Import a module of an extra; raises UsageError that names the extra where that fails."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise missing(name, extra, error) from error
