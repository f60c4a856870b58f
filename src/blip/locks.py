"""Lock files: of several processes, or threads, one holds a lock; it ends with its process."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blip.log import say


class LockedError(Exception):
    """Somebody else holds the lock."""


@contextmanager
def wait_for_lock(path: Path) -> Iterator[None]:
    """Hold the lock file at `path`; other processes wait. Its folder is made where missing.

    A thread must not ask for a lock that it holds. Raises OSError, which names the file, if it
    cannot be written or locked.
    """
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, fallback_to_soft=False)
    try:
        lock.acquire()
    except OSError as error:
        # That of the system call names no file.
        raise OSError(error.errno, f"cannot be locked ({error.strerror})", str(path)) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Hold the lock file at `path`, or raise LockedError at once where another process does.

    A file system that knows no locks is reported, and the block runs without one. Raises OSError
    if the file cannot be written.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    # Without a file the folder is to blame; with one, only the lock can fail.
    path.open("a").close()
    # A soft lock, the library's choice where flock is missing, takes this file for a held lock.
    lock = FileLock(path, fallback_to_soft=False)
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise LockedError(str(path)) from error
    except (OSError, RuntimeError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or "not supported"
        say(f"{path.parent} cannot be locked ({reason}): start no second run there")
    try:
        yield
    finally:
        lock.release()
