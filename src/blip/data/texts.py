"""Texts as users have them: encodings, byte order marks, and cells that hold no text."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

from blip.errors import UsageError
from blip.files import encoding_of, is_utf8

TEXT_LIMIT = 1 << 20
"""Longest text that is read, in bytes."""
NOT_UTF8, NOT_A_STRING, TOO_LONG = "text_not_utf8", "text_not_a_string", "text_too_long"
MISSING = "missing_text"
TEXT_FAULTS = frozenset({NOT_UTF8, NOT_A_STRING, TOO_LONG})
"""What may be wrong with one text of a sample, while its picture and its other texts are sound."""
MAX_NAMES = 30
"""Names that a message lists."""
BYTE_ORDER_MARK = "\ufeff"


def decode_text(content: bytes) -> str:
    """A text in UTF-8, with or without a byte order mark; raises UnicodeDecodeError."""
    return content.decode("utf-8-sig")


def open_text(path: Path) -> TextIO:
    """A text file, to be read line by line: UTF-8, or what its byte order mark says.

    Bytes that are not UTF-8 become lone surrogates; `is_utf8` is false for a text with some. Line
    ends stay as they are.
    """
    with path.open("rb") as file:
        encoding = encoding_of(file.read(4))
    errors = "surrogateescape" if encoding == "utf-8-sig" else "surrogatepass"
    return path.open(encoding=encoding, errors=errors, newline="")


def read_lines(path: Path) -> list[str]:
    """The lines of a user's file in UTF-8; raises UsageError if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8: {error.reason}") from error


def list_names(names: Iterable[str]) -> str:
    """Distinct names from a user's file, with commas between them, for a message of one line."""
    distinct = list(dict.fromkeys(names))
    shown = [name if name.isprintable() else repr(name) for name in distinct[:MAX_NAMES]]
    return ", ".join(shown) + (", ..." if len(distinct) > MAX_NAMES else "")


def is_missing(value: Any) -> bool:
    """Whether a cell is empty: null, or the NaN that pandas writes in its place."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def first_given(entry: dict[str, Any], names: Sequence[str]) -> Any:
    """The first value under some names that is neither null nor NaN; None if there is none."""
    return next((entry[name] for name in names if not is_missing(entry.get(name))), None)


def without_point(value: Any) -> Any:
    """A whole number that pandas made a float (`17.0`) as an integer; any other value as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def sound_texts(values: Iterable[Any]) -> tuple[tuple[str, ...], str | None]:
    """The captions among some values, stripped, and the first fault of the others.

    Null and NaN are skipped: where there is nothing else, the fault is `missing_text`. A number or
    a record is `text_not_a_string`; bytes that are not UTF-8, and lone surrogates, are
    `text_not_utf8`.
    """
    texts: list[str] = []
    fault: str | None = None
    for value in values:
        if is_missing(value):
            continue
        found = _sound_text(value)
        if isinstance(found, str):
            texts.append(found)
        else:
            fault = fault or found.fault
    return tuple(texts), fault or (None if texts else MISSING)


class _Bad:
    def __init__(self, fault: str) -> None:
        self.fault = fault


def _sound_text(value: Any) -> str | _Bad:
    if isinstance(value, bytes):
        try:
            value = decode_text(value)
        except UnicodeDecodeError:
            return _Bad(NOT_UTF8)
    if not isinstance(value, str):
        return _Bad(NOT_A_STRING)
    if len(value) > TEXT_LIMIT:
        return _Bad(TOO_LONG)
    if not is_utf8(value):
        return _Bad(NOT_UTF8)
    return value.replace("\0", "").strip().removeprefix(BYTE_ORDER_MARK).strip()
