"""An unexpected error as one line for the user; its traceback goes into a file."""

import os
import sys
import traceback

from blip.errors import first_line, is_out_of_memory, plain
from blip.installed import describe_missing, version

MAX_MESSAGE = 300
"""Most characters of an error message that are shown."""


def report_crash(error: BaseException, doing: str) -> str:
    """Save the traceback; returns a line that says what failed, where the traceback is, what to do.

    `doing` names the work, such as "blip caption". A required library that is not installed is
    named with the command that installs it, without a traceback. Never raises.
    """
    if advice := describe_missing(error):
        return f"{doing}: {advice}"
    message = plain(first_line(error) if isinstance(error, Exception) else str(error))[:MAX_MESSAGE]
    name = type(error).__name__
    saved = save_traceback(error)
    where = (
        f"the traceback is in {saved}"
        if saved is not None
        else "the traceback could not be saved; set BLIP_TRACEBACK=1 to print it"
    )
    if is_out_of_memory(error):
        return f"{doing} ran out of memory: smaller batches need less ({message or name}; {where})"
    described = name if message == name else f"{name}: {message}"
    return (
        f"{doing} failed unexpectedly: {described} ({where}; please report it to the maintainers "
        "of blip, with that file once you have looked through it)"
    )


def save_traceback(error: BaseException) -> str | None:
    """Write a traceback to a file that only its owner can read; None if no folder is writable."""
    try:
        text = _describe(error)
    except Exception:  # out of memory, or an error whose text cannot be made
        text = f"{type(error).__name__}, which could not be described\n"
    for folder in (os.environ.get("BLIP_CACHE"), None):
        try:
            import tempfile  # here, so that the bare command stays fast

            if folder:
                os.makedirs(folder, exist_ok=True)
            # Readable by its owner alone: it may name files, and addresses with keys.
            file, name = tempfile.mkstemp(".txt", "blip-error-", folder or None)
            with open(file, "w", encoding="utf-8", errors="backslashreplace") as report:
                report.write(text)
            return os.path.abspath(name)
        except (OSError, ValueError, ImportError):
            continue
    return None


def _describe(error: BaseException) -> str:
    import platform
    import shlex

    torch = sys.modules.get("torch")
    lines = [
        f"blip {version()}, Python {platform.python_version()}, {platform.platform()}",
        f"torch {getattr(torch, '__version__', 'not loaded')}",
        f"command: {shlex.join(sys.argv)}",
        f"folder: {os.environ.get('PWD', 'unknown')}",
        "",
    ]
    return "\n".join(lines) + "".join(traceback.format_exception(error))
