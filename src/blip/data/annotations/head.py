"""A quick look into a JSON file before it is read, as a file of captions may hold gigabytes."""

from collections.abc import Iterable
from pathlib import Path

HEAD = 1 << 20
"""Bytes in which the names that are looked for must come."""


def head_names(path: Path, names: Iterable[str]) -> bool:
    """Whether the start of a file has one of some words as a name or a text; false for no file."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError:
        return False
    return any(f'"{name}"'.encode() in head for name in names)
