"""Pictures as addresses that hold them, so that a page needs no other file."""

import base64
import io

from PIL import Image

THUMBNAIL = 160
"""Longest side of a picture on a page, in pixels."""


def thumbnail(picture: Image.Image) -> str:
    """A small JPEG of a picture, as a data address; the picture itself stays as it is."""
    small = picture.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return data_address("image/jpeg", buffer.getvalue())


def data_address(kind: str, content: bytes) -> str:
    """The address that holds `content` of a MIME type such as image/jpeg."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
