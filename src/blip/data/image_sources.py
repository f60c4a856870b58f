"""Pictures in any form, from paths to tensors, to RGB: the one function that reads them all."""

import os
from typing import BinaryIO

import numpy as np
from PIL import Image
from torch import Tensor

from blip.data.images import MAX_PIXELS, BadImageError, convert_image, decode_image
from blip.data.readers.image_files import IMAGE_LIMIT, read_image_file
from blip.errors import ArgumentError, BlipError, UsageError

Picture = Image.Image | str | os.PathLike[str] | bytes | BinaryIO | np.ndarray | Tensor
"""What `read_image` takes."""
NOT_FETCHED = "cannot fetch: "
"""How the reason begins why the picture at an address cannot be used."""
CHANNELS = (1, 3, 4)
ROUNDING = 1e-3
"""How far outside 0..1 a float may lie."""


def read_image(source: Picture, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """RGB, rotated by EXIF, transparency put on white, more than 8 bits scaled to 8.

    `source` is a path, an address (http://, https://, s3:// or gs://; the extra `remote` reads
    them), the bytes of a file or a file that is open for them, a PIL picture, an array `(height,
    width)` or `(height, width, 1, 3 or 4)`, or a tensor `(1, 3 or 4, height, width)`.
    Arrays and tensors hold uint8 (0..255), uint16 (0..65535) or floats in 0..1; a fourth channel is
    opacity. The source is not changed.

    >>> import blip
    >>> blip.read_image("photo.jpg").size
    (64, 48)

    Raises BadImageError for a picture that cannot be used or fetched, OSError for a file that
    cannot be read, and ArgumentError (a ValueError) for anything else.
    """
    if isinstance(source, Image.Image):
        return convert_image(source, max_pixels)
    if isinstance(source, np.ndarray):
        return _from_array(source, max_pixels)
    if isinstance(source, Tensor):
        return _from_array(_channels_last(source), max_pixels)
    return decode_image(_bytes_of(source), max_pixels)


def _bytes_of(source: str | os.PathLike[str] | bytes | BinaryIO) -> bytes:
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if isinstance(source, str) and "://" in source:
        return _fetch(source)
    if isinstance(source, str | os.PathLike):
        return read_image_file(source)
    if hasattr(source, "read"):
        content = source.read(IMAGE_LIMIT + 1)
        if not isinstance(content, bytes):
            raise ArgumentError("a file of a picture must be opened in binary mode ('rb')")
        if len(content) > IMAGE_LIMIT:
            raise BadImageError("file_too_large")
        return content
    raise ArgumentError(
        "a picture is a path, bytes, a binary file, a PIL picture, an array or a tensor, "
        f"got {type(source).__name__}"
    )


def _fetch(address: str) -> bytes:
    from blip.data.readers.remote import check_address, read_small

    check_address(address)
    try:
        content = read_small(address, IMAGE_LIMIT)
    except UsageError:
        raise
    except BlipError as error:
        # The caller names the picture.
        reason = str(error).removeprefix(f"cannot fetch {address}: ")
        raise BadImageError(f"{NOT_FETCHED}{reason}") from error
    if content is None:
        raise BadImageError("file_too_large")
    return content


def _channels_last(tensor: Tensor) -> np.ndarray:
    if tensor.ndim != 3 or tensor.shape[0] not in CHANNELS:
        shape = tuple(tensor.shape)
        raise ArgumentError(f"a tensor must be (1, 3 or 4, height, width), got {shape}")
    plain = tensor.detach().cpu()
    return (plain.float() if plain.is_floating_point() else plain).permute(1, 2, 0).numpy()


def _from_array(array: np.ndarray, max_pixels: int) -> Image.Image:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in CHANNELS):
        shape = tuple(array.shape)
        raise ArgumentError(
            f"an array must be (height, width) or (height, width, 1, 3 or 4), got {shape}"
        )
    # Before anything is computed of it.
    if array.shape[0] * array.shape[1] > max_pixels:
        raise BadImageError("too_many_pixels")
    if array.size == 0:
        raise BadImageError("zero_size")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    return convert_image(Image.fromarray(np.ascontiguousarray(_to_bytes(array))), max_pixels)


def _to_bytes(array: np.ndarray) -> np.ndarray:
    """Values in 0..255."""
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        return (array.astype(np.float32) * (255.0 / 65535.0)).astype(np.uint8)
    if array.dtype.kind != "f":
        raise ArgumentError(
            f"an array or tensor must hold uint8, uint16 or floats in 0..1, got {array.dtype}; "
            "values in 0..255 become uint8 by .astype(numpy.uint8) or .to(torch.uint8)"
        )
    least, most = float(array.min()), float(array.max())
    if not (least >= -ROUNDING and most <= 1 + ROUNDING):
        raise ArgumentError(
            f"floats must lie in 0..1, got {least:.4g}..{most:.4g}; divide what lies in 0..255 by "
            "255"
        )
    return (array.astype(np.float32) * 255.0).round().clip(0, 255).astype(np.uint8)
