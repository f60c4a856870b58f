"""Which files a path, a glob or a brace range names, and which tars it stands for."""

import os
from collections.abc import Iterable
from glob import glob
from pathlib import Path
from typing import Any

from blip.errors import UsageError
from blip.files import JSON_LINES, read_json_object
from blip.log import printable, say_once
from blip.outputs import JOB, MARKER, RECUT, read_marker
from blip.places import expand_braces, home_path

STATISTICS = "_stats.json"
"""End of the name of the file in which img2dataset writes the statistics of a shard."""
SIZES = "sizes.json"
"""How many samples each tar of a folder holds, as WebDataset and open_clip read it."""
PACKED = ".pack.json"
"""Says of a folder that `blip data pack` writes to it, or has written it."""
COMPRESSED = (
    *(".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tbz2", ".tar.xz", ".txz"),
    *(".tar.zst", ".tzst", ".tar.lz4"),
)
TABLES = (".parquet", ".csv", ".tsv", *JSON_LINES)
"""How the names of tables end; annotation files (.json) and .txt files with a header are others."""

_IN_MEMORY = ", or set --data.stream to never to read it into memory"


def expand(patterns: Iterable[str]) -> list[Path]:
    """Paths, folders, globs and brace ranges to the tars that they name, sorted, each once.

    One that is named in two ways, or through a link, is the same tar.
    Of a folder, and of what a glob finds beside tars, the tars are meant. Raises UsageError naming
    the pattern that names none, and for what is not read as a shard: tables, compressed tars,
    shards of a `blip data pack` that was stopped.
    """
    tars: dict[str, Path] = {}
    for pattern in patterns:
        matches = [tar for path in match_paths(pattern) for tar in _tars(path)]
        if not matches:
            check_begun(match_paths(pattern))
            raise UsageError(_no_tars(pattern))
        for path in tars_of(pattern) or matches:
            tars.setdefault(os.path.realpath(path), path)
    shards = list(tars.values())
    for shard in shards:
        refuse_compressed(shard)
        _refuse_table(shard)
    check_finished(shards)
    return shards


def tars_of(pattern: str) -> list[Path]:
    """The tars that a pattern names, alone, in folders or beside other files; empty for none."""
    found = [tar for path in match_paths(pattern) for tar in _tars(path)]
    return [path for path in found if path.suffix.lower() == ".tar"]


def match_paths(pattern: str) -> list[Path]:
    """The files and folders that a pattern names, sorted; hidden ones where they are named alone.

    A name with braces or stars that is there as it stands is that file. Pipes, devices
    and broken links that a glob finds are skipped, and files of a range may be missing: a line on
    stderr says so. Raises UsageError for a pattern that cannot be read.
    """
    whole = home_path(pattern)
    if _exists(whole):
        return [_regular(whole)]
    paths: list[Path] = []
    missing: list[Path] = []
    for plain in expand_braces(pattern):
        path = home_path(plain)
        if _exists(path):
            paths.append(_regular(path))
        elif matches := [Path(match) for match in glob(str(path))]:
            paths += filter(_is_readable, matches)
            _say_skipped(match for match in matches if not _is_readable(match))
        else:
            missing.append(path)
    if paths and missing:
        say_once(
            f"{printable(pattern)} names {len(missing)} missing files, "
            f"the first {printable(missing[0])}"
        )
    return sorted(dict.fromkeys(paths))


def names_in(folder: Path) -> list[str]:
    """The names in a folder; none if there is no such folder, or no permission to read it.

    Of a hundred thousand files, paths would take three times as long.
    """
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


def named_in(folder: Path, suffix: str) -> list[Path]:
    """What in a folder is named with a suffix, in any case, sorted; hidden ones not."""
    found = (name for name in names_in(folder) if name.lower().endswith(suffix))
    return sorted(folder / name for name in found if name[0] != ".")


def tars_in(folder: Path) -> list[Path]:
    """The tars of a folder, sorted, without hidden ones; others called .tar are named on stderr."""
    named = named_in(folder, ".tar")
    _say_skipped(path for path in named if not _is_file(path))
    return [path for path in named if _is_file(path)]


def compressed_in(folder: Path) -> list[Path]:
    """The compressed tars of a folder, sorted, without hidden ones."""
    return sorted(path for path in folder.iterdir() if is_compressed(path) and path.is_file())


def refuse_compressed(path: Path) -> None:
    """Raises UsageError for a compressed tar, if shards are read in any order."""
    if is_compressed(path):
        raise UsageError(
            f"{path} is compressed, and only plain tars are read here; unpack it, or let "
            f"`blip data pack {path} OUT` write shards of it"
        )


def is_compressed(path: Path) -> bool:
    """Whether a file is named as a compressed tar is."""
    return path.name.lower().endswith(COMPRESSED) and path.name[0] != "."


def check_begun(paths: Iterable[Path]) -> None:
    """Raises UsageError for a folder whose `blip data pack` was stopped before its first shard."""
    check_finished(path / "00000.tar" for path in paths if path.is_dir())


def check_finished(shards: Iterable[Path]) -> None:
    """Raises UsageError if some shards are half of what was to be written.

    They may be those of a `blip data pack`, or of a CapFilt job, that was stopped or still runs.
    """
    for folder in dict.fromkeys(shard.parent for shard in shards):
        packed, job = read_packed(folder), folder.absolute().parent
        if packed is not None and packed.get("state") != "finished":
            raise UsageError(
                f"{folder} is not finished: `blip data pack {packed.get('source', 'SRC')} {folder}`"
                " was stopped, or still runs; run the same command again to write it from the "
                "beginning"
            )
        if folder.name == "shards" and (job / MARKER).exists():
            command = (read_marker(job) or {}).get("command")
            if command in (JOB.command, RECUT.command) and not (job / "summary.json").exists():
                raise UsageError(
                    f"{folder} is not finished: `{command} --out {job}` was stopped, or still "
                    "runs; run the same command again to resume"
                )


def read_packed(folder: Path) -> dict[str, Any] | None:
    """What `blip data pack` noted in a folder; None where it noted nothing."""
    return read_json_object(folder / PACKED)


def _tars(path: Path) -> list[Path]:
    """The tars that a path stands for."""
    if not path.is_dir():
        name = path.name.lower()
        return [] if name.endswith(STATISTICS) or name == SIZES else [path]
    return tars_in(path) or compressed_in(path)


def _refuse_table(path: Path) -> None:
    if path.suffix.lower() in (*TABLES, ".json", ".txt"):
        raise UsageError(
            f"{path} is a table, and only tars are streamed; `blip data pack {path} OUT` writes "
            f"shards of it{_IN_MEMORY}"
        )


def _no_tars(pattern: str) -> str:
    if not any(path.is_dir() for path in match_paths(pattern)):
        return f"no shards at {pattern}; allowed: .tar files, folders, globs, ranges"
    return (
        f"no shards at {pattern}, and only tars are streamed; `blip data pack {pattern} OUT` "
        f"writes shards of tables and pictures{_IN_MEMORY}"
    )


def _exists(path: Path) -> bool:
    try:
        return os.path.lexists(path)
    # A text with NUL is not a path.
    except ValueError:
        return False


def _is_readable(path: Path) -> bool:
    return _is_folder(path) or _is_file(path)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    # There may be no permission to read what a link leads to.
    except OSError:
        return False


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _kind(path: Path) -> str:
    """What a path leads to where that is not a file, such as "a folder", for messages."""
    if _is_folder(path):
        return "a folder"
    return "a broken link" if path.is_symlink() else "neither a file nor a folder"


def _regular(path: Path) -> Path:
    if not _is_readable(path):
        raise UsageError(f"{path} is {_kind(path)}")
    return path


def _say_skipped(paths: Iterable[Path]) -> None:
    for path in paths:
        say_once(f"skipped {printable(path)}: it is {_kind(path)}")
