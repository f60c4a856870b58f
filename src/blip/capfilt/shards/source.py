"""The inputs of a job, cut into shards: a whole tar, or some rows of a table or a folder."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from blip.data.identity import distinct_names, keep_identity
from blip.data.keys import storable
from blip.data.readers.archive import count_samples as count_in_tar
from blip.data.readers.cache import ShardCache, cache_folder
from blip.data.readers.folders import text_file_beside
from blip.data.readers.image_files import list_images
from blip.data.readers.open import find_kind, open_place
from blip.data.readers.patterns import refuse_compressed
from blip.data.readers.remote import COMMAND, expand_remote, facts, is_remote
from blip.data.readers.sources import broken_table, resolve_source, try_each
from blip.data.sample import Sample
from blip.errors import BlipError, UsageError
from blip.files import fingerprint_file, fingerprint_json, to_utf8
from blip.log import say

COPIES = 50 * 10**9
"""Limit for copies of remote shards; those not used for longest are removed first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardTask:
    """A shard to be processed."""

    name: str
    """Name of the output: that of the input, unless two inputs share it."""
    path: str
    """Path of a file or a folder; URL of a remote tar, or `pipe:` and a command."""
    start: int | None = None
    """First row of a table, or first picture of a folder; None for a tar."""
    stop: int = 0
    """The row or picture after the last one."""
    has_text: bool = True
    """False for a table that has no column for the text, or a list without captions."""


def find_shards(data: Iterable[str], rows: int, *, need_text: bool = True) -> list[ShardTask]:
    """The shards that some tars, folders, tables, globs and brace ranges name, in their order.

    `data/readers/sources.py` expands the names; each place comes once. Tables and
    pictures are cut into shards of `rows`, named by their first row. Tars may also be remote ones.
    A table that cannot be read is one bad sample, unless there is nothing else; one without a
    column for the text is read where `need_text` is false. Raises UsageError for what names nothing
    or cannot be read, and for shards that would have the same name.
    """
    found: dict[str, str] = {}
    for location in (location for pattern in data for location in _expand(pattern)):
        # A file with two names, by a link, is one shard.
        found.setdefault(location if is_remote(location) else os.path.realpath(location), location)
    locations = list(found.values())
    tasks: list[ShardTask] = []
    named = name_shards(locations)
    here = [Path(whole.path) for whole in named if not is_remote(whole.path)]
    count = partial(_count_rows, need_text=need_text)
    lengths = dict(zip(here, try_each(here, count), strict=True))
    for whole in named:
        length = lengths.get(Path(whole.path))
        if length is None:
            tasks.append(whole)
            continue
        if isinstance(length, UsageError):
            say(f"capfilt: left out: {length}")
            length = Length(1)
        tasks += _cut(whole, length, rows)
    places: dict[str, str] = {}
    for task in tasks:
        other = places.setdefault(task.name, task.path)
        if other != task.path:
            raise UsageError(f"{other} and {task.path} both give {task.name!r}; rename one")
    return tasks


class Length(NamedTuple):
    """How many samples a place holds."""

    samples: int
    has_text: bool = True


def _count_rows(path: Path, *, need_text: bool) -> Length | None:
    """The length of a table, an annotation file or a folder; None for a tar, which is a shard."""
    if find_kind(path) == "tar":
        return None
    try:
        return Length(open_place(path).count())
    except UsageError:
        if need_text:
            raise
        return Length(open_place(path, need_text=False).count(), has_text=False)


def _cut(whole: ShardTask, length: Length, rows: int) -> Iterator[ShardTask]:
    """Shards of `rows` samples each, named by their first one."""
    for start in range(0, length.samples, rows):
        name, stop = f"{whole.name}-{start:09d}", min(start + rows, length.samples)
        yield replace(whole, name=name, start=start, stop=stop, has_text=length.has_text)


def name_shards(locations: Sequence[str | Path]) -> list[ShardTask]:
    """A name for each shard: its file's, with as many parent folders as are needed to differ."""
    absolute = list(dict.fromkeys(_absolute(str(location)) for location in locations))
    names = distinct_names([_path(location) for location in absolute])
    if names is None:
        raise UsageError(_describe_equal_names(absolute))
    return [
        ShardTask(name=name, path=location) for name, location in zip(names, absolute, strict=True)
    ]


def _describe_equal_names(locations: Sequence[str]) -> str:
    """A message that names two of the locations whose shards would have the same name."""
    first: dict[str, str] = {}
    for location in locations:
        path = _path(location)
        other = first.setdefault("-".join((*path.parts[:-1], path.stem)), location)
        if other != location:
            return (
                f"{other} and {location} would give shards of one name; rename one, or leave one "
                "out of --data"
            )
    return f"shards of --data would have the same name: {', '.join(locations[:3])}"


def read_samples(task: ShardTask) -> Iterator[Sample]:
    """The samples of a shard in their order; raises OSError if it is missing.

    Each has an `image_key` in its `meta` that no other image of the job has.
    """
    path = local_copy(task)
    path.stat()
    name = task.name if task.start is None else task.name.removesuffix(f"-{task.start:09d}")
    stop = None if task.start is None else task.stop
    samples = open_place(path, need_text=task.has_text).samples(task.start or 0, stop)
    return keep_identity(_with_broken(samples, task), name, _path(task.path))


def _with_broken(samples: Iterator[Sample], task: ShardTask) -> Iterator[Sample]:
    """The samples; in place of a table that cannot be read, one bad sample."""
    try:
        yield from samples
    except UsageError as error:
        if task.start is None:
            raise
        yield broken_table("", error)


def count_by_headers(task: ShardTask) -> tuple[int, bool]:
    """How many samples a tar holds, and whether it is whole, by its headers alone."""
    with local_copy(task).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        samples, faults = count_in_tar(
            task.name, file, lambda count: file.seek(count, os.SEEK_CUR), size
        )
    return samples, not faults


def check_count(task: ShardTask, samples: int) -> None:
    """Raises BlipError if a shard holds more or fewer samples than were read of it."""
    if task.start is not None:
        held = task.stop - task.start
    else:
        held, sound = count_by_headers(task)
        if not sound or held == samples:
            return
        # The two ways to read an unusual tar may differ; that must not stop the job.
        held = sum(1 for _ in read_samples(task))
    if held != samples:
        raise BlipError(f"{task.path} holds {held} samples, {samples} were read; start again")


def local_copy(task: ShardTask) -> Path:
    """Where a shard can be read: fetched into BLIP_CACHE (~/.cache/blip) where it is remote.

    Raises BlipError if it cannot be fetched.
    """
    if not is_remote(task.path):
        return Path(task.path)
    return ShardCache(cache_folder(""), COPIES).bring(task.path, facts(task.path))


def describe_input(task: ShardTask) -> dict[str, Any]:
    """Size, time and fingerprint of a shard, by which `is_same_input` recognises it."""
    if is_remote(task.path):
        return {**facts(task.path)._asdict(), "fingerprint": fingerprint_file(local_copy(task))}
    status = os.stat(task.path)
    facts_of_file = {"bytes": status.st_size, "modified_ns": status.st_mtime_ns}
    if task.start is None:
        return {**facts_of_file, "fingerprint": fingerprint_file(Path(task.path))}
    files = {"files": _fingerprint_files(task, {})} if os.path.isdir(task.path) else {}
    return {
        **facts_of_file,
        **files,
        "rows": [task.start, task.stop],
        "fingerprint": _fingerprint(read_samples(task)),
    }


def is_same_input(
    task: ShardTask, known: dict[str, Any], listings: dict[str, list[Path]] | None = None
) -> bool:
    """Whether a shard is still as `describe_input` found it; raises OSError if it is gone.

    `listings` keeps the pictures of folders, so that many shards of one are not each listed.
    """
    rows = None if task.start is None else [task.start, task.stop]
    if known.get("rows") != rows:
        return False
    if is_remote(task.path):
        # Nothing is known about a command: the same one is assumed to give the same.
        return facts(task.path)._asdict().items() <= known.items()
    status = os.stat(task.path)
    # Reading terabytes only to see that nothing changed would make resuming slow.
    if os.path.isdir(task.path):
        # The time of a folder says nothing of the folders below it, nor of texts that are edited.
        files = _fingerprint_files(task, {} if listings is None else listings)
        return known.get("files") == files or _is_same_content(task, known)
    if (status.st_mtime_ns, status.st_size) == (known["modified_ns"], known["bytes"]):
        return True
    # A table may have grown at its end, with these rows as before.
    if rows is None and status.st_size != known["bytes"]:
        return False
    return _is_same_content(task, known)


def _is_same_content(task: ShardTask, known: dict[str, Any]) -> bool:
    """Whether a shard holds what `describe_input` found, by reading all of it."""
    return describe_input(task)["fingerprint"] == known["fingerprint"]


def _fingerprint_files(task: ShardTask, listings: dict[str, list[Path]]) -> str:
    """Of names, sizes and times of a folder's pictures in the shard, and of texts beside them."""
    if task.path not in listings:
        listings[task.path] = list_images(Path(task.path))
    pictures = listings[task.path][task.start : task.stop]
    beside = [text for picture in pictures if (text := text_file_beside(picture)) is not None]
    stats = [(os.path.relpath(path, task.path), path.stat()) for path in (*pictures, *beside)]
    return fingerprint_json([(storable(name), s.st_size, s.st_mtime_ns) for name, s in stats])


def _expand(pattern: str) -> list[str]:
    if not is_remote(pattern):
        places = resolve_source(pattern)
        for place in places:
            refuse_compressed(place)
        return [str(place) for place in places]
    found = expand_remote(pattern)
    for location in found:
        if _path(location).suffix.lower() != ".tar":
            raise UsageError(f"{location} is not a .tar; of remote places only tars are read")
    return found


def _absolute(location: str) -> str:
    return location if is_remote(location) else os.path.abspath(location)


def _path(location: str) -> PurePosixPath:
    """The path that names a shard: of a URL the part before its query; of a command a digest."""
    if location.startswith(COMMAND):
        return PurePosixPath(f"pipe-{hashlib.sha256(to_utf8(location)).hexdigest()[:12]}.tar")
    if is_remote(location):
        return PurePosixPath("/" + location.partition("://")[2].partition("?")[0])
    return PurePosixPath(location)


def _fingerprint(samples: Iterable[Sample]) -> str:
    digest = hashlib.sha256()
    for sample in samples:
        fields = [sample.key, list(sample.texts), sample.meta, sample.error, sample.extension]
        digest.update(json.dumps(fields, sort_keys=True).encode())
        digest.update(hashlib.sha256(sample.image or b"").digest())
    return digest.hexdigest()[:16]
