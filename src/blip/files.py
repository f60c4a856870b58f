"""Files that are either whole or not there, and fingerprints of their content."""

import errno
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from stat import S_ISREG
from typing import Any, BinaryIO

from blip.errors import BlipError, UsageError

_CHUNK = 1 << 20
_UNFINISHED = ".unfinished"
"""Marks a folder that `atomic_folder` is filling: a later run that finds it removes the folder."""
CHECKSUMS = "checksums.json"
"""Lies in a checkpoint, and says what its files must be."""
_SURROGATES = re.compile("[\ud800-\udfff]")
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
"""Numbers of the errors of a disk, or of a quota, that is full."""


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write beside `path`, flush, rename into place: readers see the old or the new whole."""
    content = to_utf8(data) if isinstance(data, str) else data
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        # With `open`, unlike `tempfile`, the umask decides who may read the file.
        with part.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    _sync_folder(path.parent)


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file to be read; pipes, sockets and devices, which may never end, are not.

    Raises OSError where there is no such file.
    """
    if not S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    # Should a pipe have taken its place by now, opening does not wait for a writer.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    if not S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    return os.fdopen(handle, "rb")


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text; raises ValueError, too, for one that is nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("its lists or objects are nested too deeply") from error


def read_json_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file of ours; None where there is none."""
    try:
        found = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def to_utf8(text: str) -> bytes:
    """A text as it is written to a file.

    Lone surrogates, by which Python stands for the bytes of file names that are not UTF-8, are
    escaped as JSON escapes them: `os.fsencode` of the name that is read back gives those bytes.
    """
    return text.encode("utf-8", "backslashreplace")


def is_utf8(text: str | os.PathLike[str]) -> bool:
    """Whether UTF-8 can hold a text or a path: it has no lone surrogates.

    Libraries that are not written in Python open no other paths, and tokenizers read no other text.
    """
    text = os.fspath(text)
    return text.isascii() or _SURROGATES.search(text) is None


def read_regular(path: str | os.PathLike[str], limit: int) -> bytes:
    """The bytes of a file as `open_regular` opens it.

    Raises OSError where there is no such file, and where it has more than `limit` bytes.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        content = b"" if size > limit else file.read(limit + 1)
        if max(size, len(content)) > limit:
            raise OSError(errno.EFBIG, f"larger than {limit} bytes", os.fspath(path))
        return content


def write_json(path: Path, value: Any) -> None:
    """Write `value` atomically as JSON with sorted keys and a newline at the end."""
    write_atomically(path, json_text(value, indent=2, sort_keys=True) + "\n")


def json_text(value: Any, **options: Any) -> str:
    """`json.dumps` as we write JSON: UTF-8 as it is, and null for numbers that are not finite.

    JSON knows neither NaN nor Infinity, and many readers refuse a file that holds one.
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, **options)
    except ValueError:
        return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, **options)


def disk_is_full(error: BaseException | None) -> bool:
    """Whether a full disk or quota is behind an error, which a library may have put in its words.

    torch reports a position in the file, with the error of the system as its cause.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            return True
        if any(f"(os error {number})" in str(error) for number in NO_ROOM):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def report_disk_errors(out: Path) -> Iterator[None]:
    """Raise BlipError, which says what to do, in place of OSError while `out` is written."""
    try:
        yield
    except OSError as error:
        hint = "; make room, and the same command goes on" if disk_is_full(error) else ""
        raise BlipError(f"{error.filename or out}: {error.strerror or error}{hint}") from error


def give_usual_mode(path: Path) -> None:
    """Let a file that a library made for its owner alone be as readable as the umask says."""
    probe = path.with_name(f".{path.name}.{secrets.token_hex(4)}.mode")
    try:
        with probe.open("xb") as file:
            mode = os.fstat(file.fileno()).st_mode
    finally:
        probe.unlink(missing_ok=True)
    path.chmod(mode & 0o777)


@contextmanager
def atomic_folder(path: Path, replaces: Iterable[str] = ()) -> Iterator[Path]:
    """Yield a fresh folder beside `path` that takes its place when the block ends without error.

    A folder that stood at `path` is replaced where all its files match the patterns in `replaces`;
    else UsageError is raised before anything is written. A process killed in between leaves either
    of them whole, and leftovers of earlier kills are removed by the next call. Files are as
    readable as the umask says.
    """
    known = tuple(replaces)
    path.parent.mkdir(parents=True, exist_ok=True)
    part, old = path.with_name(f".{path.name}.part"), path.with_name(f".{path.name}.old")
    if old.exists() and not path.exists():
        old.replace(path)
    _check_replaceable(path, known)
    remove_leftovers(path, known)
    part.mkdir()
    (part / _UNFINISHED).touch()
    try:
        yield part
        for file in part.rglob("*"):
            if file.is_file():
                give_usual_mode(file)
                with file.open("rb") as opened:
                    os.fsync(opened.fileno())
        (part / _UNFINISHED).unlink()
        if path.exists():
            path.replace(old)
        part.replace(path)
        _sync_folder(path.parent)
        _remove_leftover(old, known)
    finally:
        # Made above, with a name of ours: all that it holds is ours.
        shutil.rmtree(part, ignore_errors=True)


def _finite(value: Any) -> Any:
    """A JSON value with None for every number that is not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _check_replaceable(path: Path, known: tuple[str, ...]) -> None:
    """Raise UsageError where `path` holds something that no run could write again."""
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise UsageError(f"{path} is there already and is not a folder of ours; move it away")
    if not path.exists():
        return
    strange = sorted(
        entry.name
        for entry in path.iterdir()
        if entry.is_dir() or not any(fnmatch(entry.name, pattern) for pattern in known)
    )
    if strange:
        raise UsageError(
            f"{path} would be replaced, and holds {strange[0]}, which is not a file that is "
            "written there; move it away"
        )


def _remove_leftover(folder: Path, known: tuple[str, ...]) -> None:
    """Remove what a process that was killed left of a folder."""
    if not folder.exists():
        return
    if (folder / _UNFINISHED).exists():
        shutil.rmtree(folder, ignore_errors=True)
        return
    _check_replaceable(folder, known)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()


def remove_leftovers(path: Path, known: Iterable[str]) -> None:
    """Remove what a killed `atomic_folder(path)` left beside `path`; `known` as in `replaces`."""
    for leftover in (path.with_name(f".{path.name}.part"), path.with_name(f".{path.name}.old")):
        _remove_leftover(leftover, tuple(known))


def write_checksums(folder: Path) -> None:
    """Write checksums.json: name, size and SHA-256 of every other file in `folder`."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name[0] != ".")
    write_json(
        folder / CHECKSUMS,
        {path.name: {"bytes": path.stat().st_size, "sha256": _sha256(path)} for path in files},
    )


def find_damage(folder: Path) -> str | None:
    """The first file that does not match checksums.json, and how it differs; None if all match."""
    try:
        expected = parse_json((folder / CHECKSUMS).read_text(encoding="utf-8"))
        for name, known in expected.items():
            path = folder / name
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != known["bytes"]:
                return f"{name} has {path.stat().st_size} bytes, and had {known['bytes']}"
            if _sha256(path) != known["sha256"]:
                return f"{name} does not match its checksum"
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        return f"{CHECKSUMS} cannot be read ({type(error).__name__})"
    return None


def fingerprint_json(value: Any) -> str:
    """A short hash of a JSON value; equal values have equal fingerprints, whatever their order."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(to_utf8(text)).hexdigest()[:16]


def fingerprint_file(path: Path) -> str:
    """A short hash of a file's content."""
    return _sha256(path)[:16]


def fingerprint_files(paths: list[Path]) -> str:
    """A short hash of the names and contents of some files, in the order given."""
    return fingerprint_json([[path.name, fingerprint_file(path)] for path in paths])


def fingerprint_folder(folder: Path) -> str:
    """A short hash of all files below `folder`, their names and contents."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return fingerprint_json(
        [[path.relative_to(folder).as_posix(), fingerprint_file(path)] for path in files]
    )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _sync_folder(folder: Path) -> None:
    if sys.platform == "win32":
        # It opens no folders, and writes their entries as it likes.
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
