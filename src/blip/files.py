"""Files that are either whole or not there, and fingerprints of their content."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_CHUNK = 1 << 20


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write beside `path`, flush, rename into place: readers see the old or the new whole."""
    content = data.encode() if isinstance(data, str) else data
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.chmod(0o644)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    _sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Write `value` atomically as JSON with sorted keys and a newline at the end."""
    write_atomically(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a fresh folder beside `path` that takes its place when the block ends without error.

    A folder that stood at `path` is replaced; a process killed in between leaves either of them
    whole, and leftovers of earlier kills are removed by the next call.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part, old = path.with_name(f".{path.name}.part"), path.with_name(f".{path.name}.old")
    if old.exists() and not path.exists():
        old.replace(path)
    for leftover in (part, old):
        shutil.rmtree(leftover, ignore_errors=True)
    part.mkdir()
    try:
        yield part
        for file in part.rglob("*"):
            if file.is_file():
                with file.open("rb") as opened:
                    os.fsync(opened.fileno())
        if path.exists():
            path.replace(old)
        part.replace(path)
        _sync_folder(path.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def fingerprint_json(value: Any) -> str:
    """A short hash of a JSON value; equal values have equal fingerprints, whatever their order."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def fingerprint_file(path: Path) -> str:
    """A short hash of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()[:16]


def fingerprint_files(paths: list[Path]) -> str:
    """A short hash of the names and contents of some files, in the order given."""
    return fingerprint_json([[path.name, fingerprint_file(path)] for path in paths])


def fingerprint_folder(folder: Path) -> str:
    """A short hash of all files below `folder`, their names and contents."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return fingerprint_json(
        [[path.relative_to(folder).as_posix(), fingerprint_file(path)] for path in files]
    )


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
