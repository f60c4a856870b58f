"""Paths as users write them: brace ranges and `~`; mistakes are reported in one line."""

import math
import os
import re
from pathlib import Path

from braceexpand import braceexpand

from blip.errors import UsageError

MAX_PLACES = 10_000_000
"""More shards than any collection has: a typing error must not fill the memory."""

_RANGE = re.compile(r"\{(-?\d{1,18})\.\.(-?\d{1,18})(?:\.\.-?\d+)?\}")
_LONG = re.compile(r"\{-?\d*\.\.-?\d*\d{19}|\{-?\d{19}")


def expand_braces(pattern: str) -> list[str]:
    """The paths that a pattern such as `web/{00000..00099}.tar` names, in order.

    Raises UsageError for braces that are not closed, and for too many paths.
    """
    if not pattern.strip() or "\0" in pattern:
        raise UsageError(f"{pattern!r} names no file or folder; give a path, a glob or a range")
    numbers = [(int(low), int(high)) for low, high in _RANGE.findall(pattern)]
    places = math.prod(abs(high - low) + 1 for low, high in numbers)
    if _LONG.search(pattern) or places > MAX_PLACES:
        raise UsageError(f"{pattern} names more than {MAX_PLACES} files; check the range")
    try:
        return list(braceexpand(pattern))
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"cannot expand the braces of {pattern[:200]}: {error or 'too many'}; "
            "allowed: {00000..00099} and {a,b}, each closed"
        ) from error


def real_path(path: Path) -> Path:
    """The path with all links resolved; a link that leads to itself stays as it is."""
    return Path(os.path.realpath(path))


def home_path(text: str) -> Path:
    """The path, with `~` or `~user` at its start replaced by the home folder.

    Raises UsageError for a user whom this machine does not know.
    """
    if text.startswith("~") and not os.path.lexists(text):
        try:
            return Path(text).expanduser()
        except RuntimeError as error:
            raise UsageError(f"cannot find {text}: this machine has no such user") from error
    return Path(text)
