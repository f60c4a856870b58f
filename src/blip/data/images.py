"""Bytes to an RGB picture, or a reason why not; hostile files cost no memory."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, final

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ExifTags import Base
from PIL.JpegImagePlugin import JpegImageFile

MAX_PIXELS = 100_000_000
ORIENTATION = Base.Orientation
WHITE = (255, 255, 255)


class BadImageError(Exception):
    """The bytes are no picture that can be used; the message is a short reason."""


def decode_image(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode to RGB, turned upright by EXIF, transparency laid on white, first frame of several.

    The size is checked before any pixel is decoded. Raises BadImageError.
    """
    return EncodedImage(data, max_pixels).decode()


@final
class EncodedImage:
    """A picture whose header was read and checked; a JPEG's pixels wait until they are wanted.

    Raises BadImageError, as `decode` does.
    """

    def __init__(self, data: bytes, max_pixels: int = MAX_PIXELS) -> None:
        if not data:
            raise BadImageError("empty_file")
        with _short_reasons():
            image = Image.open(io.BytesIO(data))
            width, height = image.size
            if width < 1 or height < 1:
                raise BadImageError("zero_size")
            if width * height > max_pixels:
                raise BadImageError("too_many_pixels")
            if isinstance(image, JpegImageFile):
                self.size = (height, width) if _lies(image) else (width, height)
            else:
                # Other kinds cannot be shrunk as they are read, and may tell late how they lie.
                image.load()
                image = _to_rgb(_upright(image))
                self.size = image.size
        self._image = image

    def decode(self, shrink: Literal[1, 2, 4, 8] = 1) -> Image.Image:
        """To RGB and upright; a JPEG to a `shrink`-th of its size, rounded up, at less cost.

        A JPEG's cosine transform gives the smaller picture without the larger one. May be called
        once.
        """
        image = self._image
        with _short_reasons():
            if not isinstance(image, JpegImageFile):
                return image
            if shrink > 1:
                image.draft(image.mode, (image.width // shrink, image.height // shrink))
            image.load()
            return _to_rgb(_upright(image))


@contextmanager
def _short_reasons() -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except BadImageError:
        raise
    except UnidentifiedImageError as error:
        raise BadImageError("not_an_image") from error
    except Image.DecompressionBombError as error:
        raise BadImageError("too_many_pixels") from error
    except MemoryError as error:
        raise BadImageError("out_of_memory") from error
    # Pillow's readers raise whatever their parsers stumble over.
    except Exception as error:
        reason = "truncated_image" if "truncated" in str(error).lower() else "broken_image"
        raise BadImageError(reason) from error


def _lies(image: Image.Image) -> bool:
    """Whether a picture is to be turned by a quarter."""
    try:
        return image.getexif().get(ORIENTATION) in (5, 6, 7, 8)
    # As below.
    except Exception:
        return False


def _upright(image: Image.Image) -> Image.Image:
    try:
        ImageOps.exif_transpose(image, in_place=True)
    # A broken EXIF block does not make the pixels bad.
    except Exception:
        return image
    return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "I;16", "I;16B", "I;16L", "F"):
        deep = np.asarray(image, dtype=np.float32)
        top = 65535.0 if image.mode != "F" else max(float(deep.max()), 1e-9)
        grey = (deep * (255.0 / top)).clip(0, 255).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        alpha = image.convert("RGBA")
        ground = Image.new("RGBA", alpha.size, (*WHITE, 255))
        return Image.alpha_composite(ground, alpha).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")
