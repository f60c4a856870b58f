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

try:
    import simplejpeg
except ImportError:  # the extra "fast"
    simplejpeg = None

MAX_PIXELS = 100_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""No more of what Pillow reads: some call other programs, some tell their size too late."""
ORIENTATION = Base.Orientation
Shrink = Literal[1, 2, 4, 8]
"""What the sides of a JPEG may be divided by as it is decoded."""
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
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            width, height = image.size
            if width < 1 or height < 1:
                raise BadImageError("zero_size")
            if width * height > max_pixels:
                raise BadImageError("too_many_pixels")
            if isinstance(image, JpegImageFile):
                self.size = (height, width) if _orientation(image) >= 5 else (width, height)
            else:
                # Other kinds cannot be shrunk as they are read, and may tell late how they lie.
                image.load()
                image = _to_rgb(_upright(image))
                self.size = image.size
        self._image, self._data = image, data

    @property
    def shrinks(self) -> bool:
        """Whether it can be decoded to less than its full size."""
        return isinstance(self._image, JpegImageFile)

    def decode(self, shrink: Shrink = 1) -> Image.Image:
        """To RGB and upright; a JPEG to a `shrink`-th of its size, rounded up, at less cost.

        A JPEG's cosine transform gives the smaller picture without the larger one. May be called
        once.
        """
        image = self._image
        if not isinstance(image, JpegImageFile):
            return image
        with _short_reasons():
            if shrink > 1:
                image.draft(image.mode, (image.width // shrink, image.height // shrink))
            image.load()
            return _to_rgb(_upright(image))

    def pixels(self, shrink: Shrink, box: tuple[int, int, int, int]) -> np.ndarray:
        """The part of `decode(shrink)` within left, top, right and bottom, as an array.

        simplejpeg makes the same pixels in less time, as it makes an array at once.
        """
        quick = self._quick_pixels(shrink)
        if quick is None:
            return np.array(self.decode(shrink).crop(box))
        left, top, right, bottom = box
        return quick[top:bottom, left:right]

    def _quick_pixels(self, shrink: Shrink) -> np.ndarray | None:
        image = self._image
        plain = isinstance(image, JpegImageFile) and image.mode == "RGB"
        if simplejpeg is None or not plain or _orientation(image) != 1:
            return None
        width, height = (-(-side // shrink) for side in image.size)
        try:
            pixels = simplejpeg.decode_jpeg(self._data, min_height=height, min_width=width)
        # Whatever is wrong with it: Pillow is the judge.
        except Exception:
            return None
        return pixels if pixels.shape == (height, width, 3) else None


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


def _orientation(image: Image.Image) -> int:
    """As EXIF numbers it: 1 is upright, from 5 on it is turned by a quarter."""
    try:
        found = image.getexif().get(ORIENTATION, 1)
    # As below.
    except Exception:
        return 1
    return found if found in range(1, 9) else 1


def count_pixels(data: bytes) -> int:
    """Pixels of a picture by its header, without decoding it; 0 where it is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            width, height = Image.open(io.BytesIO(data), formats=FORMATS).size
    # Whatever is wrong with it is said by who decodes it.
    except Exception:
        return 0
    return width * height


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
