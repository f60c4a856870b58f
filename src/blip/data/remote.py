"""Shards that lie elsewhere: s3://, gs://, https:// and commands, read with retries."""

import json
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from braceexpand import braceexpand

from blip.data.headers import Reader
from blip.errors import BlipError, UsageError, first_line
from blip.log import say

ATTEMPTS = 12
FIRST_PAUSE = 0.5
"""Seconds before the second attempt; each further pause is twice as long, up to the longest."""
LONGEST_PAUSE = 30.0
LONGEST_SILENCE = 60.0
"""Seconds after which a connection over which nothing comes has failed."""
COMMAND = "pipe:"

T = TypeVar("T")


class Facts(NamedTuple):
    """What tells one state of a file from another."""

    size: int
    """In bytes; 0 for a command."""
    tag: str
    """An ETag, or the time of the last change; empty where neither is known."""


def is_remote(location: str) -> bool:
    """Whether a shard is fetched, not opened."""
    return location.startswith(COMMAND) or "://" in location


def expand_remote(pattern: str) -> list[str]:
    """Brace ranges, and globs where the store can list, to locations, sorted.

    Raises UsageError where a glob finds nothing.
    """
    found: list[str] = []
    for plain in braceexpand(pattern):
        if plain.startswith(COMMAND) or not any(mark in plain for mark in "*["):
            found.append(plain)
            continue
        files, path = _open_store(plain)
        matches = with_retries(lambda files=files, path=path: files.glob(path), f"list {plain}")
        if not matches:
            raise UsageError(f"no shards at {plain}")
        found += sorted(files.unstrip_protocol(match) for match in matches)
    return found


def facts(location: str) -> Facts:
    """Size and tag of a remote file; of a command nothing is known."""
    if location.startswith(COMMAND):
        return Facts(0, "")
    files, path = _open_store(location)
    info = with_retries(lambda: files.info(path), f"find {location}")
    marks = ("ETag", "etag", "md5Hash", "LastModified", "Last-Modified", "mtime", "created")
    tag = next((str(info[mark]) for mark in marks if info.get(mark)), "")
    return Facts(int(info.get("size") or 0), tag)


def fetch(location: str, target: Path) -> None:
    """Write the whole of a remote shard to `target`. Raises BlipError after the last attempt."""
    if location.startswith(COMMAND):
        with_retries(lambda: _run(location, target), f"run {location}")
        return
    files, path = _open_store(location)

    def download() -> None:
        files.get_file(path, str(target))
        told = int(files.info(path).get("size") or 0)
        if told and target.stat().st_size != told:
            raise ConnectionError(f"{target.stat().st_size} of {told} bytes came")

    with_retries(download, f"fetch {location}")


def read_json(location: str) -> dict[str, Any] | None:
    """A small remote JSON object; None where there is none."""
    files, path = _open_store(location)

    def read() -> Any:
        try:
            return json.loads(files.cat_file(path))
        except (FileNotFoundError, ValueError):
            return None

    found = with_retries(read, f"read {location}")
    return found if isinstance(found, dict) else None


@contextmanager
def stream(location: str) -> Iterator[Reader]:
    """A remote shard to be read once from its start."""
    if location.startswith(COMMAND):
        command = location.removeprefix(COMMAND)
        with subprocess.Popen(command, shell=True, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            yield process.stdout
            process.stdout.read()
        if process.returncode:
            raise ConnectionError(f"exit status {process.returncode}")
        return
    files, path = _open_store(location)
    with files.open(path, "rb", cache_type="readahead") as file:
        yield file


def with_retries(work: Callable[[], T], what: str) -> T:
    """Do `work`, again after ever longer pauses where it fails.

    Raises BlipError after the last attempt, and at once for what no second attempt mends.
    """
    pause = FIRST_PAUSE
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return work()
        except BlipError:
            raise
        # Each store has errors of its own for a network that fails.
        except Exception as error:
            if _is_final(error):
                raise BlipError(f"cannot {what}: {first_line(error)}") from error
            if attempt == ATTEMPTS:
                raise BlipError(
                    f"cannot {what}: {first_line(error)} (attempt {attempt} of {ATTEMPTS})"
                ) from error
            say(f"cannot {what}: {first_line(error)}; attempt {attempt + 1} follows")
        # Processes that failed together should not come back together.
        time.sleep(pause * random.uniform(0.5, 1.5))
        pause = min(2 * pause, LONGEST_PAUSE)
    raise AssertionError("the last attempt returns or raises")


def _is_final(error: Exception) -> bool:
    """Whether a second attempt mends nothing: a file that is not there, or not for us."""
    if isinstance(error, PermissionError):
        return True
    # Over HTTP, the library tells every failure to look at a file as one that is not there.
    cause = error.__cause__
    missing = cause is None or getattr(cause, "status", 0) == 404
    return isinstance(error, FileNotFoundError) and missing


def _run(location: str, target: Path) -> None:
    with target.open("wb") as file:
        done = subprocess.run(
            location.removeprefix(COMMAND),
            shell=True,
            stdout=file,
            stderr=subprocess.PIPE,
            check=False,
        )
    if done.returncode:
        told = done.stderr.decode(errors="replace").strip().splitlines()
        raise ConnectionError(f"exit status {done.returncode}, {(told or ['no message'])[-1]}")


def _open_store(location: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs

        files, path = url_to_fs(location, **_options(location))
    except ImportError as error:
        raise BlipError(f"{location} needs: pip install 'blip[remote]' ({error})") from error
    except ValueError as error:
        raise UsageError(
            f"cannot read {location}: {first_line(error)}; allowed: s3://, gs://, https://, pipe:"
        ) from error
    return files, str(path)


def _options(location: str) -> dict[str, Any]:
    """A large shard may take its time, but not stand still; aiohttp's own limit is on the whole."""
    if not location.startswith(("http://", "https://")):
        return {}
    from aiohttp import ClientTimeout

    limit = ClientTimeout(total=None, sock_connect=LONGEST_SILENCE, sock_read=LONGEST_SILENCE)
    return {"client_kwargs": {"timeout": limit}}
