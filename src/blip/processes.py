"""Processes: start them, end them with their parent, stop on SIGTERM; what this one holds."""

import multiprocessing
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

from blip.errors import StoppedError


def start_process(process: BaseProcess) -> None:
    """Start a process that never receives SIGINT.

    Ctrl-C reaches all processes of a terminal. One that is still importing has no handler yet, and
    would show a traceback; the parent alone answers it, and stops its children.
    """
    if sys.platform == "win32":
        process.start()
        return
    from multiprocessing import resource_tracker

    # A signal that comes meanwhile waits for the old mask, which the child does not have.
    # The first process of multiprocessing starts its tracker of resources, which unblocks SIGINT.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """End this process as soon as its parent has ended; returns at once.

    If the parent was killed and is started again, two processes would write to one folder.
    """
    threading.Thread(target=_exit_after_parent, daemon=True).start()


def _exit_after_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def stop_on_sigterm(message: str) -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does; StoppedError with `message`, status 0, comes out."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received = []

    def interrupt(*_: object) -> None:
        received.append(True)
        # Not an Exception: a block that catches what is wrong with one item must not catch this.
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt as stop:
        if not received:
            raise
        raise StoppedError(message, status=0) from stop
    finally:
        signal.signal(signal.SIGTERM, before)


def usable_cpus() -> int:
    """How many cores this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def most_open_files() -> int | None:
    """How many files this process may have open; None where there is no limit, as on Windows."""
    if sys.platform == "win32":
        return None
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if limit == resource.RLIM_INFINITY else limit


def most_memory(process: int | None = None) -> int | None:
    """Most bytes of memory that a process, else this one, has held so far.

    None on Windows, which does not say, and for another process on systems other than Linux. On
    Linux it is counted since the program began: `getrusage` includes what the process has held from
    which it was forked, even if that one is far larger.
    """
    if sys.platform == "win32":
        return None
    if sys.platform == "linux":
        held = re.search(r"^VmHWM:\s*(\d+) kB$", _status(process), re.MULTILINE)
        if held is not None:
            return int(held[1]) * 1024
    if process is not None:
        return None
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _status(process: int | None) -> str:
    # Some sandboxes have no such file.
    try:
        return Path(f"/proc/{process or 'self'}/status").read_text("utf-8")
    except OSError:
        return ""
