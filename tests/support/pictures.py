"""Pictures of every troublesome kind, as bytes."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def pixels(height: int = 24, width: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def photo(seed: int = 0, kind: str = "PNG") -> bytes:
    return encode(Image.fromarray(pixels(seed=seed)), kind)


def bomb(side: int = 30_000) -> bytes:
    """A PNG whose header says that it is huge."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    content = _chunk(b"IDAT", zlib.compress(b"\x00" * 1000))
    return SIGNATURE + _chunk(b"IHDR", header) + content + _chunk(b"IEND", b"")


def text_bomb(characters: int = 100_000_000) -> bytes:
    """A small PNG with a compressed text of many characters before its pixels."""
    whole = photo()
    text = _chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * characters))
    # Behind the signature and the header, which has 13 bytes.
    start = len(SIGNATURE) + 25
    return whole[:start] + text + whole[start:]


def _chunk(name: bytes, data: bytes) -> bytes:
    body = name + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
