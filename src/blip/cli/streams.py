"""The standard streams of the command: closed ones, those that cannot encode, readers that left."""

import io
import os
import select
import sys
from contextlib import suppress

from blip.errors import UsageError


def prepare() -> None:
    """Make the streams fit for any text, and take the places of closed ones.

    Raises UsageError if stdout is closed: results would go nowhere, or, once a file has been
    opened in its place, into that file.
    """
    no_output = _is_closed(sys.stdout)
    _occupy_low_numbers()
    for name in ("stdin", "stdout", "stderr"):
        if _is_closed(getattr(sys, name)):
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 (for good)
    for stream in (sys.stdout, sys.stderr):
        # What the terminal's encoding lacks is shown as an escape.
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="backslashreplace")
    if no_output:
        raise UsageError("stdout is closed; allowed: a file, a pipe, or /dev/null to see nothing")


def reader_has_left(error: OSError) -> bool:
    """Whether an error is that of a pipe whose reader has ended, as in `blip ... | head`."""
    if not isinstance(error, BrokenPipeError):
        return False
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return bool(poll.poll(0))
    except (AttributeError, OSError, ValueError):
        # Windows has no `poll`.
        return False


def leave() -> None:
    """Make sure that Python's own flush at exit finds nothing to complain about."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            # What could not be written stays in the buffer.
            with suppress(OSError, ValueError), open(os.devnull, "w", encoding="utf-8") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())


def _is_closed(stream: object) -> bool:
    return stream is None or bool(getattr(stream, "closed", False))


def _occupy_low_numbers() -> None:
    """Keep files that are opened later from becoming a standard stream of C code and children."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
