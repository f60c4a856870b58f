"""Bytes to an RGB picture, or a reason why not; hostile files cost no memory."""

import io
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 100_000_000
WHITE = (255, 255, 255)


class BadImageError(Exception):
    """The bytes are no picture that can be used; the message is a short reason."""


def decode_image(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode to RGB, turned upright by EXIF, transparency laid on white, first frame of several.

    The size is checked before any pixel is decoded. Raises BadImageError.
    """
    if not data:
        raise BadImageError("empty_file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data))
            width, height = image.size
            if width < 1 or height < 1:
                raise BadImageError("zero_size")
            if width * height > max_pixels:
                raise BadImageError("too_many_pixels")
            image.load()
            return _to_rgb(_upright(image))
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


def count_pixels(data: bytes) -> int:
    """Pixels of a picture by its header, without decoding it; 0 where it is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            width, height = Image.open(io.BytesIO(data)).size
    # Whatever is wrong with it is said by who decodes it.
    except Exception:
        return 0
    return width * height


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    # A broken EXIF block does not make the pixels bad.
    except Exception:
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
    return image.convert("RGB")
