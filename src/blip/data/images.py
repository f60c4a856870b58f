"""Bytes to an RGB picture, or a reason why not; sizes are checked before pixels are decoded."""

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Literal, final

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError, features
from PIL.ExifTags import Base
from PIL.JpegImagePlugin import JpegImageFile

from blip.data.config import MAX_PIXELS
from blip.data.faults import BadSampleError

try:
    import simplejpeg
except ImportError:  # the extra "fast"
    simplejpeg = None

USUAL_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
FORMATS = (*USUAL_FORMATS, "AVIF") if features.check("avif") else USUAL_FORMATS
"""No more of what Pillow reads: some call other programs, some check the size too late."""
HEIF_OR_AVIF = (b"mif1", b"msf1")
HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", *HEIF_OR_AVIF)
"""What follows `ftyp` in the files of phone cameras; the extra `heif` reads them."""
ORIENTATION = Base.Orientation
Shrink = Literal[1, 2, 4, 8]
"""What the sides of a JPEG may be divided by as it is decoded."""
WHITE = (255, 255, 255)
DEEP = 65535.0
"""The white of whole numbers of more than 8 bits."""


LARGE = 16_000_000
"""A picture of more pixels is large: threads decode large pictures one after the other."""

_pillow_limit = threading.Lock()
_large = threading.Lock()


class BadImageError(BadSampleError):
    """The bytes are not a usable picture; the message is a short reason."""


def decode_image(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode to RGB: rotated by EXIF, transparency put on white, the first of several frames.

    The size is checked before any pixel is decoded. Raises BadImageError.
    """
    return EncodedImage(data, max_pixels).decode()


def decode_small(data: bytes, side: int, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """As `decode_image`, with at most `side` pixels on the longest side.

    A JPEG is decoded to twice as many or more, not to its full size. Raises BadImageError.
    """
    encoded = EncodedImage(data, max_pixels)
    shrinks: tuple[Shrink, ...] = (8, 4, 2, 1)
    longest = max(encoded.size)
    image = encoded.decode(next(s for s in shrinks if s == 1 or longest >= 2 * side * s))
    image.thumbnail((side, side))
    return image


@final
class EncodedImage:
    """A picture whose header was read and checked; a JPEG is decoded by `decode` alone.

    Raises BadImageError, as `decode` does.
    """

    def __init__(self, data: bytes, max_pixels: int = MAX_PIXELS) -> None:
        if not data:
            raise BadImageError("empty_file")
        with _short_reasons():
            image = _open(data, max_pixels)
            _check_size(image.size, max_pixels)
            if isinstance(image, JpegImageFile):
                width, height = image.size
                self.size = (height, width) if _orientation(image) >= 5 else (width, height)
            else:
                # Other kinds cannot be shrunk as they are read, and may give their EXIF at the end.
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
        left, top, right, bottom = box
        pixels = self._quick_pixels(shrink)
        if pixels is None:
            pixels = np.array(self.decode(shrink))
        return pixels[top:bottom, left:right]

    def _quick_pixels(self, shrink: Shrink) -> np.ndarray | None:
        image = self._image
        plain = isinstance(image, JpegImageFile) and image.mode == "RGB"
        if simplejpeg is None or not plain or _orientation(image) != 1:
            return None
        width, height = (-(-side // shrink) for side in image.size)
        try:
            pixels = simplejpeg.decode_jpeg(self._data, min_height=height, min_width=width)
        # Pillow decides whether the rest of it can be decoded.
        except Exception:
            return None
        return pixels if pixels.shape == (height, width, 3) else None


def convert_image(image: Image.Image, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """A picture that Pillow has opened or made, treated as `decode_image` treats a file.

    The picture itself is not changed. Raises BadImageError.
    """
    _check_size(image.size, max_pixels)
    with _short_reasons():
        image.load()
        return _to_rgb(image if _orientation(image) == 1 else _upright(image.copy()))


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise BadImageError("zero_size")
    if width * height > max_pixels:
        raise BadImageError("too_many_pixels")


def _open(data: bytes, max_pixels: int) -> Image.Image:
    """Read the header; raises what Pillow raises."""
    formats = FORMATS
    if data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS:
        if _can_read_heif():
            formats = (*FORMATS, "HEIF")
        elif data[8:12] not in HEIF_OR_AVIF:
            raise BadImageError("heic_needs_extra_heif")
    file, usual = io.BytesIO(data), Image.MAX_IMAGE_PIXELS
    if usual is None or max_pixels <= 2 * usual:
        return Image.open(file, formats=formats)
    # Pillow has a limit of its own, of the whole process, below the configured one.
    with _pillow_limit:
        usual, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, max_pixels
        try:
            return Image.open(file, formats=formats)
        finally:
            Image.MAX_IMAGE_PIXELS = usual


def _can_read_heif() -> bool:
    """Whether the extra `heif` is installed; it is imported when the first such picture comes."""
    try:
        import pillow_heif
    except ImportError:
        return False
    if "HEIF" not in Image.OPEN:
        pillow_heif.register_heif_opener(thumbnails=False)
    return True


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


def count_pixels(data: bytes, max_pixels: int = MAX_PIXELS) -> int:
    """Pixels of a picture by its header, without decoding it; 0 where it is not a picture."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            width, height = _open(data, max_pixels).size
    # Decoding it reports what is wrong.
    except Exception:
        return 0
    return width * height


@contextmanager
def one_large_picture_at_a_time(data: bytes, max_pixels: int = MAX_PIXELS) -> Iterator[None]:
    """Decode a large picture within: threads that share the memory wait while another one does."""
    with _large if count_pixels(data, max_pixels) > LARGE else nullcontext():
        yield


def _upright(image: Image.Image) -> Image.Image:
    try:
        ImageOps.exif_transpose(image, in_place=True)
    # A broken EXIF block does not make the pixels bad.
    except Exception:
        return image
    return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _scale_deep(image).convert("RGB")
    if image.mode == "La":
        # Pillow brings it to nothing else.
        image = image.convert("LA")
    if image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info:
        alpha = image.convert("RGBA")
        ground = Image.new("RGBA", alpha.size, (*WHITE, 255))
        return Image.alpha_composite(ground, alpha).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _scale_deep(image: Image.Image) -> Image.Image:
    """More than 8 bits to 8: whole numbers from 0..65535, floats from 0 to the greatest finite."""
    deep, top = np.asarray(image, dtype=np.float32), DEEP
    if image.mode == "F":
        finite = np.isfinite(deep)
        if not finite.any():
            raise BadImageError("no_finite_pixel")
        top = max(float(deep[finite].max()), 1e-9)
        if not finite.all():
            deep = np.nan_to_num(deep, nan=0.0, posinf=top, neginf=0.0)
    grey = (deep * (255.0 / top)).clip(0, 255).astype(np.uint8)
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        grey[deep == clear] = 255
    return Image.fromarray(grey)
