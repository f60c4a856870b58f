"""Writing files so that readers see all of them or none, and fingerprints of their content."""

import codecs
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
"""Marks a folder that `atomic_folder` is filling; a later run removes such a folder."""
CHECKSUMS = "checksums.json"
"""A file in a checkpoint folder with size and hash of every other file there."""
TOO_DEEP = "its lists or objects are nested too deeply"
_SURROGATES = re.compile("[\ud800-\udfff]")
JSON_LINES = (".jsonl", ".ndjson")
"""How the names of files with a JSON value in each line end."""
ABSENT = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
"""Errors of the system that say that a file is not there; others may pass."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
"""Error numbers of a full disk or quota."""
LONGEST_NAME = 200
"""Bytes of a name to which temporary files add theirs: file systems take 255."""


def hidden_beside(path: Path, ending: str) -> Path:
    """`.NAME.ENDING` beside `path`, for what is to become `path`; long names are cut and hashed."""
    name, encoded = path.name, os.fsencode(path.name)
    if len(encoded) > LONGEST_NAME:
        start = encoded[: LONGEST_NAME - 9].decode("utf-8", "ignore")
        name = f"{start}-{hashlib.sha256(encoded).hexdigest()[:8]}"
    return path.with_name(f".{name}.{ending}")


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write a temporary file, flush it, and rename it to `path`: readers see the old or the new."""
    content = to_utf8(data) if isinstance(data, str) else data
    path.parent.mkdir(parents=True, exist_ok=True)
    part = hidden_beside(path, f"{secrets.token_hex(4)}.part")
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


def put_in_place(part: Path, path: Path) -> None:
    """Rename a finished file that lies on the same disk, once its content is on that disk.

    After a power cut the new file is whole or absent. Raises OSError if the disk is full, and
    if the name cannot be taken.
    """
    _flush(part)
    part.replace(path)
    _sync_folder(path.parent)


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file for reading, but no pipe, socket or device, which might never end.

    Raises OSError for those, and if the file does not exist.
    """
    if not S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    # If a pipe has replaced the file meanwhile, opening must not wait for a writer.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    if not S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    return os.fdopen(handle, "rb")


_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def encoding_of(start: bytes) -> str:
    """The encoding that the byte order mark at the start of a text names; UTF-8 without one."""
    return next((name for mark, name in _MARKS if start.startswith(mark)), "utf-8-sig")


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text; raises ValueError also where it is nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError(TOO_DEEP) from error


def is_json_lines(path: Path) -> bool:
    """Whether a file is named as one of JSON lines is."""
    return path.suffix.lower() in JSON_LINES


def read_json_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None where it is missing or holds something else."""
    try:
        found = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def to_utf8(text: str) -> bytes:
    """A text as bytes for a file.

    Python represents bytes of file names that are not UTF-8 as lone surrogates. They are escaped as
    in JSON, so that `os.fsencode` of the name that is read back gives the same bytes.
    """
    return text.encode("utf-8", "backslashreplace")


def is_utf8(text: str | os.PathLike[str]) -> bool:
    """Whether a text or path can be encoded in UTF-8, which means: it has no lone surrogates.

    Libraries in other languages cannot open other paths, and tokenizers cannot read other texts.
    """
    text = os.fspath(text)
    return text.isascii() or _SURROGATES.search(text) is None


def read_regular(path: str | os.PathLike[str], limit: int) -> bytes:
    """The content of a regular file (see `open_regular`).

    Raises OSError if it does not exist or has more than `limit` bytes.
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
    """`json.dumps` with UTF-8 unescaped, and null for numbers that are not finite.

    JSON has no NaN and no Infinity, and many readers refuse a file with one. Raises ValueError for
    what is nested too deeply.
    """
    try:
        try:
            return json.dumps(value, ensure_ascii=False, allow_nan=False, **options)
        except ValueError:
            return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, **options)
    except RecursionError as error:
        raise ValueError(TOO_DEEP) from error


def disk_is_full(error: BaseException | None) -> bool:
    """Whether a full disk or quota caused an error, also one that a library has wrapped.

    torch reports a position in the file, with the system's error as its cause.
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
    """Turn an OSError while `out` is written into a BlipError that says what to do."""
    try:
        yield
    except OSError as error:
        hint = (
            "; free some space, then run the same command again to resume"
            if disk_is_full(error)
            else ""
        )
        raise BlipError(f"{error.filename or out}: {error.strerror or error}{hint}") from error


def give_usual_mode(path: Path) -> None:
    """Give a file that a library made readable for its owner only the mode that the umask gives."""
    probe = hidden_beside(path, f"{secrets.token_hex(4)}.mode")
    try:
        with probe.open("xb") as file:
            mode = os.fstat(file.fileno()).st_mode
    finally:
        probe.unlink(missing_ok=True)
    path.chmod(mode & 0o777)


@contextmanager
def atomic_folder(path: Path, replaces: Iterable[str] = ()) -> Iterator[Path]:
    """Yield a new folder beside `path`, which replaces `path` when the block ends without error.

    An existing folder is replaced only if all its files match the patterns in `replaces`; else
    UsageError is raised before anything is written. If the process is killed, the old or the new
    folder is complete, and the next call removes what is left of the other. Files get the mode that
    the umask gives; those that are links to files elsewhere keep theirs.
    """
    known = tuple(replaces)
    path.parent.mkdir(parents=True, exist_ok=True)
    part, old = hidden_beside(path, "part"), hidden_beside(path, "old")
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
                # The mode of a link is that of a file elsewhere, perhaps of another user.
                if file.lstat().st_nlink == 1 and not file.is_symlink():
                    give_usual_mode(file)
                _flush(file)
        (part / _UNFINISHED).unlink()
        if path.exists():
            path.replace(old)
        part.replace(path)
        _sync_folder(path.parent)
        _remove_leftover(old, known)
    finally:
        # This call made the folder, so that all its files are ours.
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
    """Raise UsageError where `path` holds files that `atomic_folder` must not replace."""
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise UsageError(f"{path} exists and is not a folder; move it away")
    if not path.exists():
        return
    unexpected = sorted(
        entry.name
        for entry in path.iterdir()
        if entry.is_dir() or not any(fnmatch(entry.name, pattern) for pattern in known)
    )
    if unexpected:
        raise UsageError(
            f"{path} would be replaced, but holds {unexpected[0]}, which this command does not "
            "write; move it away"
        )


def _remove_leftover(folder: Path, known: tuple[str, ...]) -> None:
    """Remove the unfinished or replaced folder of a killed process."""
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
    """Remove folders that a killed `atomic_folder(path)` left; `known` is its `replaces`."""
    for leftover in (hidden_beside(path, "part"), hidden_beside(path, "old")):
        _remove_leftover(leftover, tuple(known))


def write_checksums(folder: Path) -> None:
    """Write checksums.json: name, size and SHA-256 of every other file in `folder`."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name[0] != ".")
    write_json(
        folder / CHECKSUMS,
        {path.name: {"bytes": path.stat().st_size, "sha256": _sha256(path)} for path in files},
    )


def status_of(path: Path) -> os.stat_result | None:
    """The size, mode and so on of a file; None if there is none.

    Raises OSError if the system cannot say, for which `Path.exists` may return False.
    """
    try:
        return path.stat()
    except ABSENT:
        return None


def find_damage(folder: Path) -> str | None:
    """The first file that does not match checksums.json, and how it differs; None if all match.

    Raises OSError if a file is there and cannot be read: it may match.
    """
    try:
        expected = parse_json((folder / CHECKSUMS).read_text(encoding="utf-8"))
        for name, known in expected.items():
            path = folder / name
            status = status_of(path)
            if status is None or not S_ISREG(status.st_mode):
                return f"{name} is missing"
            if status.st_size != known["bytes"]:
                return f"{name} has {status.st_size} bytes instead of {known['bytes']}"
            if _sha256(path) != known["sha256"]:
                return f"{name} does not match its checksum"
    except (*ABSENT, ValueError, TypeError, KeyError, AttributeError) as error:
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


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _flush(path: Path) -> None:
    # Windows flushes only files that are open for writing, which a read-only link cannot be.
    with path.open("r+b" if sys.platform == "win32" else "rb") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if sys.platform == "win32":
        # It opens no folders, and writes their entries as it likes.
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
