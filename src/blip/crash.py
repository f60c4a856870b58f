"""What a user sees of an unexpected error: one line; its traceback goes into a file."""

import os
import sys
import traceback

from blip.errors import first_line, is_out_of_memory, plain
from blip.installed import version

LONGEST = 300
"""Characters of a foreign error's message that are shown."""


def report_crash(error: BaseException, doing: str) -> str:
    """Save the traceback; returns the line that says what failed, where that is, what to do.

    `doing` names the work, such as "blip caption". Never raises.
    """
    what = plain(first_line(error) if isinstance(error, Exception) else str(error))[:LONGEST]
    name = type(error).__name__
    saved = save_traceback(error)
    where = (
        f"the traceback is in {saved}"
        if saved is not None
        else "no folder could be written to for the traceback, BLIP_TRACEBACK=1 shows it"
    )
    if is_out_of_memory(error):
        return f"{doing} ran out of memory: smaller batches need less ({what or name}; {where})"
    told = name if what == name else f"{name}: {what}"
    return (
        f"{doing} failed unexpectedly: {told} ({where}; please report it to the maintainers "
        "of blip, with that file once you have looked through it)"
    )


def save_traceback(error: BaseException) -> str | None:
    """Write a traceback where its owner alone can read it; None where no folder takes it."""
    try:
        text = _describe(error)
    except Exception:  # no memory, or an error that cannot even be shown
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
