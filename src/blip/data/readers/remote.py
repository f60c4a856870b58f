"""Remote files: s3://, gs://, https:// and, for shards, commands; read with retries."""

import json
import logging
import random
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt
from tenacity.wait import wait_exponential

from blip.data.readers.headers import Reader
from blip.data.readers.video_files import is_video_name
from blip.errors import ArgumentError, BlipError, UsageError, first_line
from blip.files import parse_json
from blip.installed import missing
from blip.log import say
from blip.places import expand_braces
from blip.threads import do_within, is_left

ATTEMPTS = 12
FIRST_PAUSE = 0.5
"""Seconds before the second attempt, give or take a half; each further pause is twice as long."""
LONGEST_PAUSE = 30.0
READ_TIMEOUT = 60.0
"""Seconds without a byte after which a connection has failed."""
LISTING_EXPIRY = 60.0
"""Seconds for which the listing of a store is kept."""
SMALL_ATTEMPTS = 3
"""Of a file that somebody waits for, such as a picture."""
SMALL_SECONDS = 120.0
"""In which such a file must have come."""
PIECE = 1 << 20
"""Bytes of it that are asked for at a time."""
COMMAND = "pipe:"
WEB = ("http://", "https://")
STORES = ("s3://", "gs://", "gcs://")
TRANSIENT = (408, 425, 429)
"""HTTP statuses below 500 that a retry may mend."""
MISCONFIGURED = frozenset(
    {
        "DefaultCredentialsError",
        "NoCredentialsError",
        "NoRegionError",
        "ParamValidationError",
        "PartialCredentialsError",
        "ProfileNotFound",
    }
)
"""Errors of the stores' libraries before any request: credentials or settings are wrong."""

T = TypeVar("T")


class Facts(NamedTuple):
    """Size and tag, which identify a state of a file."""

    size: int
    """In bytes; 0 for a command."""
    tag: str
    """An ETag, or the time of the last change; empty where neither is known."""


def is_remote(location: str) -> bool:
    """Whether a shard is fetched, not opened."""
    return location.startswith(COMMAND) or "://" in location


def expand_remote(pattern: str) -> list[str]:
    """Brace ranges, and globs where the store can list, to locations, sorted.

    What ends with a slash stands for its tars. Raises UsageError if a glob finds nothing.
    """
    locations: list[str] = []
    for plain in expand_braces(pattern):
        # Of a URL a question mark begins the query, and a slash at its end is the server's matter.
        marks = "*[" if plain.startswith((COMMAND, *WEB)) else "*[?"
        shown = plain
        if plain.endswith("/") and "?" in marks:
            plain, shown = f"{plain}*.[tT][aA][rR]", f"{plain}*.tar"
        if plain.startswith(COMMAND) or not any(mark in plain for mark in marks):
            locations.append(plain)
            continue
        files, path = _open_store(plain)
        # What was listed for an earlier job may be old.
        files.invalidate_cache()
        matches = with_retries(lambda files=files, path=path: files.glob(path), f"list {shown}")
        if not matches:
            raise UsageError(f"no shards at {shown}")
        locations += sorted(files.unstrip_protocol(match) for match in matches)
    return locations


def facts(location: str) -> Facts:
    """Size and tag of a remote file; of a command nothing is known.

    Raises UsageError for a folder, BlipError if there is nothing.
    """
    if location.startswith(COMMAND):
        return Facts(0, "")
    files, path = _open_store(location)
    info = with_retries(lambda: files.info(path), f"find {location}")
    if info.get("type") == "directory":
        raise UsageError(f"{location} is a folder; end it with / for all its tars")
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
        size = int(files.info(path).get("size") or 0)
        if size and target.stat().st_size != size:
            raise ConnectionError(f"received {target.stat().st_size} of {size} bytes")

    with_retries(download, f"fetch {location}")


@contextmanager
def on_disk(location: str) -> Iterator[Path]:
    """Where a shard can be read; a remote one is fetched, and removed afterwards."""
    if not is_remote(location):
        yield Path(location)
        return
    with tempfile.TemporaryDirectory(prefix="blip-") as folder:
        copy = Path(folder) / "shard.tar"
        fetch(location, copy)
        yield copy


def read_json(location: str) -> dict[str, Any] | None:
    """A small remote JSON object; None where it is missing or another value."""
    files, path = _open_store(location)

    def read() -> Any:
        try:
            return parse_json(files.cat_file(path))
        except (FileNotFoundError, ValueError):
            return None

    value = with_retries(read, f"read {location}")
    return value if isinstance(value, dict) else None


def check_address(address: str) -> None:
    """Raise ArgumentError for an address of a kind that `read_small` does not read.

    For one that is malformed, and for that of a video.
    """
    if not address.startswith((*WEB, *STORES)):
        allowed = ", ".join((*WEB, *STORES))
        raise ArgumentError(f"cannot read {address}: allowed are a path and {allowed}")
    try:
        parts = urlsplit(address)
        has_host = bool(parts.hostname)
        # Only when it is asked for.
        _ = parts.port
    except ValueError as error:
        raise ArgumentError(f"cannot read {address}: {first_line(error)}") from error
    if not has_host:
        raise ArgumentError(f"cannot read {address}: it lacks a host")
    if is_video_name(parts.path):
        raise ArgumentError(f"cannot read {address}: it is the address of a video; download it")


def read_small(location: str, limit: int) -> bytes | None:
    """The bytes of a remote file that fits into memory; None where it has more than `limit`.

    Raises BlipError if it cannot be read in `SMALL_ATTEMPTS` or, with all of them, not in
    `SMALL_SECONDS`, and UsageError if what reads such locations is not installed.
    """
    files, path = _open_store(location)
    # Of a web server in one answer, which need not say how long it is.
    more = {"block_size": 0} if location.startswith(WEB) else {}

    late = BlipError(f"cannot fetch {location}: not done in {SMALL_SECONDS:.0f} s")

    def read() -> bytes | None:
        content = bytearray()
        with files.open(path, "rb", **more) as file:
            while piece := file.read(min(PIECE, limit + 1 - len(content))):
                content += piece
                if len(content) > limit:
                    return None
                if is_left():
                    raise late
        return bytes(content)

    fetch = partial(with_retries, read, f"fetch {location}", attempts=SMALL_ATTEMPTS)
    try:
        return do_within(SMALL_SECONDS, fetch)
    except TimeoutError as error:
        raise late from error


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


def with_retries(work: Callable[[], T], what: str, *, attempts: int | None = None) -> T:
    """Do `work`, again after ever longer pauses where it fails; `what` names it in messages.

    Raises BlipError after the last of `attempts`, `ATTEMPTS` unless another number is given, and at
    once for an error that a retry cannot mend, and if nobody waits for the work any more.
    """
    attempts = attempts or ATTEMPTS
    retrying = Retrying(
        stop=stop_after_attempt(attempts),
        wait=_pause,
        retry=retry_if_exception(lambda error: not is_left() and not _is_final(error)),
        before_sleep=partial(_say_retry, what),
        reraise=True,
    )
    try:
        return retrying(work)
    except BlipError:
        raise
    # Each store has errors of its own for a network that fails.
    except Exception as error:
        message = f"cannot {what}: {_reason(error)}"
        if not _is_final(error):
            message += f" (attempt {retrying.statistics['attempt_number']} of {attempts})"
        raise BlipError(message) from error


def _pause(state: RetryCallState) -> float:
    """Seconds before the next attempt: processes that failed together must not retry together."""
    growing = wait_exponential(multiplier=FIRST_PAUSE, max=LONGEST_PAUSE)
    return growing(state) * random.uniform(0.5, 1.5)


def _say_retry(what: str, state: RetryCallState) -> None:
    error = None if state.outcome is None else state.outcome.exception()
    assert isinstance(error, Exception)
    say(f"cannot {what}: {_reason(error)}; attempt {state.attempt_number + 1} follows")


def _is_final(error: BaseException) -> bool:
    """Whether a retry cannot mend it: a missing file, a forbidden one, a wrong setting."""
    if isinstance(error, BlipError | PermissionError) or not isinstance(error, Exception):
        return True
    chain = list(_chain(error))
    # An answer that is broken off or garbled: the status is aiohttp's, not the server's.
    if any(type(link).__module__ == "aiohttp.http_exceptions" for link in chain):
        return False
    status = next(filter(None, map(_status, chain)), 0)
    if status:
        return 300 <= status < 500 and status not in TRANSIENT
    # Over HTTP, the library reports every failed request for a file as a missing file.
    if isinstance(error, FileNotFoundError):
        return error.__cause__ is None
    # What the library for Google says of status 403.
    if type(error) is OSError and str(error).startswith("Forbidden:"):
        return True
    if any(kind.__name__ in MISCONFIGURED for kind in type(error).__mro__):
        return True
    # An endpoint or a name that is not valid; a body that is not JSON is a fault of the network.
    return isinstance(error, ValueError) and not isinstance(error, json.JSONDecodeError)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _status(error: BaseException) -> int:
    """The HTTP status in an error of aiohttp, botocore or gcsfs; 0 where it has none."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        status = getattr(error, "status", None) or getattr(error, "code", None)
    return int(str(status)) if str(status).isdigit() else 0


def _reason(error: Exception) -> str:
    """What an error says, in a line; the error of a missing file has only its name."""
    if isinstance(error, FileNotFoundError) and " " not in str(error):
        cause = error.__cause__
        return _reason(cause) if isinstance(cause, Exception) else "not found"
    lines = str(error).strip().splitlines()
    return " ".join(lines[:2]) if lines and lines[0].endswith(":") else first_line(error)


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
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise ConnectionError(f"exit status {done.returncode}, {lines[-1]}")


def _open_store(location: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs

        files, path = url_to_fs(location, **_options(location))
    except ImportError as error:
        raise missing(f"what reads {location}", "remote", error) from error
    except ValueError as error:
        raise UsageError(
            f"cannot read {location}: {first_line(error)}; allowed: s3://, gs://, https://, pipe:"
        ) from error
    return files, str(path)


def _options(location: str) -> dict[str, Any]:
    """A large shard may take long, but must not stall; all other settings are the user's.

    aiohttp limits the whole transfer, gcsfs nothing, and s3fs each read, as is done here.
    """
    if location.startswith("s3"):
        return {"listings_expiry_time": LISTING_EXPIRY}
    if not location.startswith((*WEB, "gs://", "gcs://")):
        return {}
    from aiohttp import ClientTimeout

    limit = ClientTimeout(total=None, sock_connect=READ_TIMEOUT, sock_read=READ_TIMEOUT)
    if location.startswith(WEB):
        return {"client_kwargs": {"timeout": limit}}
    # It also logs what it raises, with tracebacks, and Python prints what no handler takes.
    log = logging.getLogger("gcsfs")
    if not log.hasHandlers():
        log.addHandler(logging.NullHandler())
    return {"listings_expiry_time": LISTING_EXPIRY, "requests_timeout": limit}
