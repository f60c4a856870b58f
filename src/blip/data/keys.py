"""Keys that every reader of shards reads back, no two of them equal."""

import hashlib
import math
import re
import unicodedata
from collections.abc import Container, Iterable, Iterator
from dataclasses import replace
from itertools import chain, count
from typing import Any

from blip.data.readers.image_files import IMAGE_EXTENSIONS
from blip.data.sample import Sample
from blip.errors import BlipError

KEY_LIMIT = 200
"""Bytes of a key: with what CapFilt appends, it stays a file name (255) on most systems."""
WRITTEN_LIMIT = 240
"""Bytes of a key with what CapFilt appends."""
MISSING = frozenset({"", "nan", "none", "null", "<na>", "nat"})
"""What tables write for a missing key, in lower case."""
NEVER_WRITTEN = frozenset(
    {"unsafe_name", "torn_tar", "duplicate_key", "scattered_key", "key_too_long"}
)
"""Errors of samples in tars that keep their key, so that it can be found in the tar."""

_PLAIN = re.compile(r"[A-Za-z0-9-][A-Za-z0-9_-]*")
_WHOLE_NUMBER = re.compile(r"(-?\d+)\.0+")
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zs", "Zl", "Zp"})
"""Unicode's categories of control and format characters, surrogates, blanks and line ends."""


def free_name(name: str, taken: Container[int | str]) -> str:
    """The name, with a number after it where it is taken: `a`, `a-1`, `a-2`."""
    names = chain([name], (f"{name}-{number}" for number in count(1)))
    return next(one for one in names if one not in taken)


def storable(text: str) -> str:
    """The text as files in UTF-8 keep it: lone surrogates spelt out, NUL removed."""
    return text.replace("\0", "").encode("utf-8", "backslashreplace").decode()


def key_text(value: Any) -> str | None:
    """A key as a table or an annotation file gives it; None for null, NaN, blanks, lists, records.

    A whole number that pandas made a float (`17.0`) loses its point.
    """
    if value is None or isinstance(value, list | tuple | dict):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    text = storable(str(value)).strip()
    whole = _WHOLE_NUMBER.fullmatch(text)
    text = whole[1] if whole else text
    return None if text.casefold() in MISSING else text


def safe_key(raw: str) -> str:
    """A key that every reader of WebDataset shards gives back; empty where nothing is left of it.

    A reader cuts a member's name at its first dot, so the extension of a picture is dropped and
    other dots become `_`, as do blanks, control characters and backslashes. Folders stay, with `/`
    between them, without empty ones. Names that begin with two underscores are skipped by some
    readers and keep one. What is longer than 200 bytes ends in a digest.
    """
    if len(raw) <= KEY_LIMIT and _PLAIN.fullmatch(raw):
        return raw
    stem, _, extension = raw.rpartition(".")
    if extension.lower() in IMAGE_EXTENSIONS and stem.rpartition("/")[2]:
        raw = stem
    return _shorten("/".join(_safe_part(part) for part in raw.split("/") if part))


def check_key(key: str) -> None:
    """Raises BlipError for a key that `safe_key` would change: a reader would not find it again."""
    if len(key) <= KEY_LIMIT and _PLAIN.fullmatch(key):
        return
    if not key or "/".join(_safe_part(part) for part in key.split("/") if part) != key:
        raise BlipError(
            f"cannot write a sample under the key {key!r}: readers of shards would not find it "
            f"again; blip.data.keys.safe_key makes it {safe_key(key)!r}"
        )
    if len(key.encode()) > WRITTEN_LIMIT:
        raise BlipError(f"the key {key[:50]!r}... is longer than {WRITTEN_LIMIT} bytes")


def check_lengths(samples: Iterable[Sample]) -> Iterator[Sample]:
    """Samples of a tar; one whose key is too long for a file's name gets an error, and keeps it."""
    for sample in samples:
        long = len(sample.key) > KEY_LIMIT // 4 and len(storable(sample.key).encode()) > KEY_LIMIT
        yield replace(sample, error="key_too_long") if long and not sample.error else sample


def with_safe_keys(
    samples: Iterable[Sample], noun: str, first: int = 0, *, keep_raw: bool = False
) -> Iterator[Sample]:
    """Samples under safe keys, no two of which are equal, not even if their case is ignored.

    Samples are numbered from `first`. A key that an earlier sample has gets `-noun-NUMBER` at its
    end; a sample whose key `safe_key` leaves empty gets its number as key. With `keep_raw`, a
    sample whose key was changed keeps the original one as `key` in `meta`.
    """
    seen: set[str] = set()
    for number, sample in enumerate(samples, first):
        if (sample.error or "").partition(":")[0] in NEVER_WRITTEN:
            yield sample
            continue
        key = safe_key(sample.key) or f"{number:09d}"
        while (folded := unicodedata.normalize("NFC", key).casefold()) in seen:
            key = _shorten(f"{key}-{noun}-{number:09d}")
        seen.add(folded)
        if key == sample.key:
            yield sample
        else:
            raw = {"key": sample.key} if keep_raw and sample.key else {}
            yield replace(sample, key=key, meta={**raw, **sample.meta})


def _safe_part(part: str) -> str:
    if not part.isascii() or not part.isprintable() or not {".", " ", "\\"}.isdisjoint(part):
        part = "".join("_" if _is_unsafe(character) else character for character in part)
    return "_" + part.lstrip("_") if part.startswith("__") else part


def _is_unsafe(character: str) -> bool:
    return character in ".\\" or unicodedata.category(character) in _UNSAFE


def _shorten(key: str) -> str:
    content = key.encode()
    if len(content) <= KEY_LIMIT:
        return key
    digest = hashlib.blake2b(content, digest_size=8).hexdigest()
    return f"{content[: KEY_LIMIT - 17].decode('utf-8', 'ignore')}-{digest}"
