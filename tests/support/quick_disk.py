"""Files of tests are written without waiting for the disk: no test cuts the power.

What a process has written is there for others however it ends, with `os.fsync` and without it.
Processes that start anew wait all the same.
"""

import os
from pathlib import Path

import pytest


def install() -> None:
    """No file is waited for in this process."""
    os.fsync = check_only


def check_only(file: int) -> None:
    """In place of `os.fsync`: raises OSError for what is not open."""
    os.fstat(file)


def renamed_unflushed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The names that files get from now on without `os.fsync` before: a power cut empties them."""
    flushed: set[int] = set()
    found: list[Path] = []
    rename = Path.replace

    def note_flush(file: int) -> None:
        flushed.add(os.fstat(file).st_ino)

    def note_rename(part: Path, place: Path) -> Path:
        if part.stat().st_ino not in flushed:
            found.append(place)
        return rename(part, place)

    monkeypatch.setattr(os, "fsync", note_flush)
    monkeypatch.setattr(Path, "replace", note_rename)
    return found
