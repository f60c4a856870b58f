"""Bad samples of twenty-four kinds, planted in shards, and the reasons that the ledger may give."""

import io
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 24
SOUND = frozenset({"match", "below_threshold"})
OF_BYTES = frozenset({"truncated_image", "broken_image", "not_an_image", "too_many_pixels"})
UNSAFE = frozenset({"unsafe_name"})


@dataclass(frozen=True, slots=True)
class Member:
    """An entry of a tar."""

    name: str
    content: bytes = b""
    kind: bytes = tarfile.REGTYPE
    link: str = ""


@dataclass(frozen=True, slots=True)
class Planted:
    """A sample: what is put into the tar, the key in the ledger, and what may be said of it."""

    members: tuple[Member, ...]
    key: str
    reasons: frozenset[str]


Kind = Callable[[str, np.random.Generator], Planted]


def picture(rng: np.random.Generator, form: str = "JPEG") -> bytes:
    """A small picture of one colour and some noise."""
    pixels = np.full((SIDE, SIDE, 3), rng.integers(0, 255, 3), np.uint8)
    pixels[::3] = rng.integers(0, 255, (SIDE // 3, SIDE, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def png(width: int, height: int, data: bytes) -> bytes:
    """A PNG that says that it is so large."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def sound(key: str, rng: np.random.Generator) -> Planted:
    """Nothing is wrong with it."""
    members = (Member(f"{key}.jpg", picture(rng)), Member(f"{key}.txt", b"a red square"))
    return Planted(members, key, SOUND)


def _image(content: bytes, key: str, reasons: frozenset[str], extension: str = "jpg") -> Planted:
    members = (Member(f"{key}.{extension}", content), Member(f"{key}.txt", b"a red square"))
    return Planted(members, key, reasons)


def _cut(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: int(rng.integers(1, len(content) // 2))]


def _flip(content: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes after the signature are others: the picture may survive it."""
    changed = bytearray(content)
    for place in rng.integers(8, len(changed), 12):
        changed[place] ^= int(rng.integers(1, 256))
    return bytes(changed)


def _text(key: str, rng: np.random.Generator, content: bytes, reason: str) -> Planted:
    members = (Member(f"{key}.jpg", picture(rng)), Member(f"{key}.txt", content))
    return Planted(members, key, frozenset({reason}))


def _link(kind: bytes) -> Kind:
    def make(key: str, rng: np.random.Generator) -> Planted:
        name = f"{key}.jpg"
        return Planted((Member(name, kind=kind, link="../../outside"),), name, UNSAFE)

    return make


def _duplicate(key: str, rng: np.random.Generator) -> Planted:
    """The second of two whose key is the same; the first one is sound."""
    again = sound(key, rng).members
    return Planted((*sound(key, rng).members, *again), key, frozenset({"duplicate_key"}))


def _named(name: str) -> Kind:
    return lambda key, rng: Planted(
        (Member(name.format(key), picture(rng)),), name.format(key), UNSAFE
    )


KINDS: dict[str, Kind] = {
    "jpeg cut off": lambda k, r: _image(_cut(picture(r), r), k, OF_BYTES),
    "png cut off": lambda k, r: _image(_cut(picture(r, "PNG"), r), k, OF_BYTES, "png"),
    "gif cut off": lambda k, r: _image(picture(r, "GIF")[:20], k, OF_BYTES, "gif"),
    "bytes flipped in a jpeg": lambda k, r: _image(_flip(picture(r), r), k, OF_BYTES | SOUND),
    "bytes flipped in a png": lambda k, r: _image(
        _flip(picture(r, "PNG"), r), k, OF_BYTES | SOUND, "png"
    ),
    "random bytes": lambda k, r: _image(r.bytes(200), k, OF_BYTES),
    "a page instead of a picture": lambda k, r: _image(b"<html>404</html>", k, OF_BYTES),
    "an empty file": lambda k, r: _image(b"", k, frozenset({"empty_file"})),
    "30 000 x 30 000 pixels": lambda k, r: _image(
        png(30_000, 30_000, b"x"), k, frozenset({"too_many_pixels"}), "png"
    ),
    "2 000 000 000 pixels wide": lambda k, r: _image(
        png(2_000_000_000, 1, b"x"), k, OF_BYTES, "png"
    ),
    "no pixels": lambda k, r: _image(png(0, 7, b""), k, OF_BYTES | {"zero_size"}, "png"),
    "no picture": lambda k, r: Planted(
        (Member(f"{k}.txt", b"red"),), k, frozenset({"missing_image"})
    ),
    "a key twice": _duplicate,
    "a key too long": lambda k, r: _image(
        picture(r), f"{k}{'k' * 200}", frozenset({"key_too_long"})
    ),
    "a name with ..": _named("../../{}.jpg"),
    "an absolute name": _named("/tmp/{}.jpg"),
    "a symbolic link": _link(tarfile.SYMTYPE),
    "a hard link": _link(tarfile.LNKTYPE),
    "a device": _link(tarfile.CHRTYPE),
    "a pipe": _link(tarfile.FIFOTYPE),
    "a text that is no UTF-8": lambda k, r: _text(k, r, b"caf\xe9", "text_not_utf8"),
    "a blank text": lambda k, r: _text(k, r, b" \n\t", "empty_text"),
    "no text": lambda k, r: Planted(
        (Member(f"{k}.jpg", picture(r)),), k, frozenset({"missing_text"})
    ),
    "broken JSON": lambda k, r: Planted(
        (Member(f"{k}.jpg", picture(r)), Member(f"{k}.json", b"{")), k, frozenset({"broken_json"})
    ),
}


def write_shard(path: Path, samples: Iterator[Planted]) -> list[Planted]:
    """Write a tar of some samples; returns them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = []
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for sample in samples:
            for member in sample.members:
                info = tarfile.TarInfo(member.name)
                info.size, info.type, info.linkname = len(member.content), member.kind, member.link
                tar.addfile(info, io.BytesIO(member.content))
            written.append(sample)
    return written
