"""How many samples each shard holds: from an index, from img2dataset, or by reading headers."""

import multiprocessing
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple, TypeVar

from blip.data.faults import Fault
from blip.data.readers.archive import count_samples
from blip.data.readers.patterns import STATISTICS, expand, is_compressed
from blip.data.readers.remote import (
    COMMAND,
    Facts,
    expand_remote,
    facts,
    is_remote,
    read_json,
    stream,
    with_retries,
)
from blip.errors import BlipError, UsageError
from blip.files import parse_json, read_json_object, write_json
from blip.locks import wait_for_lock
from blip.log import progress
from blip.processes import usable_cpus
from blip.threads import map_in_threads

INDEX = "index.json"
READER = 2
"""Number of the reader that counted: an older one took other members for samples."""
THREADS = 16
"""Shards that are looked up at a time; threads wait more than they work."""
FEW = 16
"""Up to so many local shards are counted without helper processes, which take time to start."""
SAVE_EVERY = 500
"""Shards after whose counting the index is written."""
CHUNK = 1 << 20

T = TypeVar("T")
A = TypeVar("A")


class Shard(NamedTuple):
    """A shard, and what is known of it without reading samples."""

    location: str
    facts: Facts
    """Identify a state of the shard."""
    samples: int
    faults: tuple[Fault, ...] = ()
    """Of the shard itself, by its headers; unknown where img2dataset has counted."""


class Statistics(NamedTuple):
    """What img2dataset noted of a shard."""

    location: str
    samples: int


def locate(patterns: Iterable[str]) -> list[str]:
    """Paths, folders, globs, brace ranges, URLs and commands to shards, each once; paths absolute.

    Raises UsageError naming the pattern that names none.
    """
    shards: dict[str, str] = {}
    for pattern in patterns:
        plain = pattern.removeprefix("file://")
        if is_remote(plain):
            for location in expand_remote(plain):
                _refuse_compressed(location)
                shards[location] = location
            continue
        for path in expand([plain]):
            shards.setdefault(os.path.realpath(path), os.path.abspath(path))
    return list(shards.values())


def _refuse_compressed(location: str) -> None:
    if not location.startswith(COMMAND) and is_compressed(Path(location.partition("?")[0])):
        raise UsageError(
            f"{location} is compressed, and only plain tars are read here; unpack it, or read it "
            "by a command, such as 'pipe:curl -sf URL | gunzip'"
        )


def index_shards(
    locations: Sequence[str], folder: Path, lost: list[Fault] | None = None
) -> list[Shard]:
    """Count the samples of shards; what `folder/index.json` knows is not counted again.

    It is known by location, size and time of change or ETag. Processes that share the folder count
    one after the other. img2dataset's `NNNNN_stats.json` beside a shard is trusted, unless the
    shard has changed since. Raises BlipError if a remote shard cannot be read, UsageError if
    a local one is missing; with `lost` such a shard goes there, with the reason, and all others are
    counted.
    """
    looked = _look_up(partial(_try, _state), locations, "look at shards")
    found = _without_lost(zip(locations, looked, strict=True), lost)
    locations, states = [location for location, _ in found], [state for _, state in found]
    with wait_for_lock(folder / "index.lock"):
        known = _read(folder / INDEX)
        fresh = [
            n
            for n, (location, state) in enumerate(zip(locations, states, strict=True))
            if location not in known or known[location].facts != state
        ]
        noted = _look_up(_trust_statistics, [locations[n] for n in fresh], "read statistics")
        uncounted = []
        for n, statistics in zip(fresh, noted, strict=True):
            if statistics is None:
                uncounted.append((locations[n], states[n]))
            else:
                known[locations[n]] = Shard(locations[n], states[n], statistics.samples)
        _count_all(uncounted, known, folder / INDEX, lost)
        if fresh:
            _write(folder / INDEX, known)
    gone = {fault.shard for fault in lost or ()}
    return [known[location] for location in locations if location not in gone]


def _try(work: Callable[[A], T], argument: A) -> T | BlipError:
    """The result, or why it failed: one shard must not cost the others."""
    try:
        return work(argument)
    except BlipError as error:
        return error


def _without_lost(
    results: Iterable[tuple[str, T | BlipError]], lost: list[Fault] | None
) -> list[tuple[str, T]]:
    """The results of the shards that can be read; others go to `lost`, or raise their reason."""
    readable: list[tuple[str, T]] = []
    for location, result in results:
        if not isinstance(result, BlipError):
            readable.append((location, result))
        elif lost is None:
            raise result
        else:
            lost.append(Fault(location, "", f"unreadable: {result}"))
    return readable


def _count_all(
    uncounted: list[tuple[str, Facts]],
    known: dict[str, Shard],
    index: Path,
    lost: list[Fault] | None,
) -> None:
    """Read headers in processes of their own: it is work, and Python's threads take turns."""

    def note(number: int, counting: tuple[str, Facts], counted: Shard | BlipError) -> None:
        for location, shard in _without_lost([(counting[0], counted)], lost):
            known[location] = shard
        if number % SAVE_EVERY == SAVE_EVERY - 1:
            _write(index, known)

    if len(uncounted) <= FEW:
        for number, counting in enumerate(uncounted):
            note(number, counting, _try(_count, counting))
        return
    helpers = min(THREADS, usable_cpus())
    context = multiprocessing.get_context("forkserver")
    with (
        ProcessPoolExecutor(helpers, mp_context=context) as processes,
        progress(len(uncounted), "count samples", "shards") as bar,
    ):
        counted = processes.map(partial(_try, _count), uncounted)
        for number, (counting, shard) in enumerate(zip(uncounted, counted, strict=True)):
            note(number, counting, shard)
            bar.advance()


def _look_up(work: Callable[[str], T], locations: Sequence[str], what: str) -> list[T]:
    """Do `work` for each, several at a time; with progress where there are many."""
    if len(locations) <= 10 * THREADS:
        return map_in_threads(work, locations, THREADS)
    with progress(len(locations), what, "shards") as bar:
        return map_in_threads(work, locations, THREADS, bar.advance)


def _state(location: str) -> Facts:
    if is_remote(location):
        return facts(location)
    try:
        status = os.stat(location)
    except OSError as error:
        raise UsageError(f"no shard at {location}: {error.strerror}") from error
    if not S_ISREG(status.st_mode):
        raise UsageError(f"{location} is not a regular file")
    return Facts(status.st_size, str(status.st_mtime_ns))


def read_statistics(location: str) -> "Statistics | None":
    """What img2dataset noted of a shard that it wrote, if it did.

    Raises BlipError if remote notes cannot be read.
    """
    if location.startswith(COMMAND) or not location.endswith(".tar"):
        return None
    statistics = f"{location.removesuffix('.tar')}{STATISTICS}"
    stats = read_json(statistics) if is_remote(location) else read_json_object(Path(statistics))
    successes = stats.get("successes") if isinstance(stats, dict) else None
    sound = isinstance(successes, int) and not isinstance(successes, bool) and successes >= 0
    return Statistics(statistics, int(successes)) if sound and successes is not None else None


def _trust_statistics(location: str) -> Statistics | None:
    """img2dataset's notes of a shard, unless a local shard has changed since they were written."""
    statistics = read_statistics(location)
    if statistics is None or is_remote(location):
        return statistics
    is_stale = os.stat(statistics.location).st_mtime_ns < os.stat(location).st_mtime_ns
    return None if is_stale else statistics


@lru_cache(1024)
def blame(shard: Shard) -> str:
    """Where a wrong number of samples came from, for a message; empty if unknown."""
    if is_remote(shard.location):
        return "; a _stats.json beside it, or an index of an earlier state, may be out of date"
    statistics = read_statistics(shard.location)
    if statistics is None or statistics.samples != shard.samples:
        return ""
    return f"; {statistics.location} says {statistics.samples} and is out of date: remove it"


def _count(what: tuple[str, Facts]) -> Shard:
    location, state = what
    if not is_remote(location):
        try:
            with open(location, "rb") as file:
                samples, faults = count_samples(
                    location, file, lambda n: file.seek(n, os.SEEK_CUR), state.size
                )
        except OSError as error:
            raise BlipError(f"cannot read {location}: {error.strerror}") from error
        return Shard(location, state, samples, tuple(faults))

    def read_through() -> tuple[int, list[Fault]]:
        with stream(location) as file:

            def skip(size: int) -> None:
                while size > 0:
                    size -= len(file.read(min(size, CHUNK))) or size

            return count_samples(location, file, skip, state.size or None)

    samples, faults = with_retries(read_through, f"count the samples of {location}")
    return Shard(location, state, samples, tuple(faults))


def _read(path: Path) -> dict[str, Shard]:
    try:
        content = parse_json(path.read_bytes())
        return {
            location: Shard(
                location, Facts(size, tag), samples, tuple(Fault(*fault) for fault in faults)
            )
            for location, (size, tag, samples, faults, reader) in content.items()
            if reader == READER
        }
    # An index that cannot be read is made anew.
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _write(path: Path, known: dict[str, Shard]) -> None:
    write_json(
        path,
        {
            location: [*shard.facts, shard.samples, list(shard.faults), READER]
            for location, shard in known.items()
        },
    )
