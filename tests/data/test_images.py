"""Pictures of every kind are read, or refused with a reason."""

import numpy as np
import pytest
from PIL import Image

from blip.data.images import BadImageError, decode_image
from tests.data.pictures import bomb, encode, photo, pixels

RED = (255, 0, 0)


def test_exif_rotation_is_applied() -> None:
    image = Image.fromarray(pixels(20, 30))
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode_image(encode(image, "JPEG", exif=exif)).size == (20, 30)


@pytest.mark.parametrize("mode", ["L", "CMYK", "P", "1", "LA", "RGBA", "I;16", "I", "F"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    kind = {"CMYK": "JPEG", "F": "TIFF", "I": "TIFF"}.get(mode, "PNG")
    if mode in ("I;16", "I", "F"):
        grey = np.linspace(0, 1, 24 * 32).reshape(24, 32)
        dtype = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        image = Image.fromarray((grey * (1 if mode == "F" else 65535)).astype(dtype))
    else:
        image = Image.fromarray(pixels()).convert(mode)
    decoded = decode_image(encode(image, kind))
    assert decoded.mode == "RGB"
    assert decoded.size == (32, 24)
    assert np.asarray(decoded).std() > 30


def test_transparency_lies_on_white() -> None:
    image = Image.new("RGBA", (8, 8), (*RED, 0))
    assert decode_image(encode(image)).getpixel((3, 3)) == (255, 255, 255)


def test_the_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, (0, 0, 255))]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode_image(data).getpixel((3, 3)) == RED


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty_file"),
        (b"this is text, whatever it is called", "not_an_image"),
        (photo(kind="JPEG")[:-200], "truncated_image"),
        (photo()[:200], "truncated_image"),
        (bomb(), "too_many_pixels"),
    ],
)
def test_bad_ones_have_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(BadImageError, match=reason):
        decode_image(data)
