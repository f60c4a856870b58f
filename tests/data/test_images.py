"""Pictures of every kind are read, or refused with a reason."""

import sys
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from blip.data import images
from blip.data.images import BadImageError, EncodedImage, decode_image
from tests.support.pictures import bomb, encode, photo, pixels

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


@pytest.mark.parametrize("shrink", [1, 2, 4, 8])
@pytest.mark.parametrize(
    "options",
    [
        {"quality": 85},
        {"quality": 40, "subsampling": "4:2:2"},
        {"quality": 95, "subsampling": "4:4:4", "progressive": True},
        {"exif": 6},
        {"exif": 3},
        {"mode": "L"},
        {"mode": "CMYK"},
    ],
)
@pytest.mark.parametrize("size", [(97, 131), (64, 48), (33, 17)])
def test_a_part_is_the_same_by_any_decoder(
    size: tuple[int, int], options: dict, shrink: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, exif = dict(options), Image.Exif()
    exif[0x0112] = options.pop("exif", 1)
    image = Image.fromarray(pixels(*size)).resize(size[::-1], Image.Resampling.BICUBIC)
    image = image.convert(options.pop("mode", "RGB"))
    data = encode(image, "JPEG", exif=exif, **options)
    whole = decode_image(data)
    assert EncodedImage(data).size == whole.size
    small = EncodedImage(data).decode(shrink)
    assert small.size == tuple(-(-side // shrink) for side in whole.size)
    box = (1, 0, small.width, small.height - 1)
    quick = EncodedImage(data).pixels(shrink, box)
    monkeypatch.setattr(images, "simplejpeg", None)
    np.testing.assert_array_equal(quick, EncodedImage(data).pixels(shrink, box))
    np.testing.assert_array_equal(quick, np.asarray(small)[:-1, 1:])


def test_a_truncated_part_is_refused_by_any_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    data = photo(kind="JPEG")[:-200]
    for decoder in (images.simplejpeg, None):
        monkeypatch.setattr(images, "simplejpeg", decoder)
        with pytest.raises(BadImageError, match="truncated_image"):
            EncodedImage(data).pixels(1, (0, 0, 4, 4))


def test_other_kinds_do_not_shrink() -> None:
    encoded = EncodedImage(photo())
    assert not encoded.shrinks
    assert encoded.decode(8).size == encoded.size == (32, 24)


@pytest.mark.parametrize("kind", ["EPS", "ICO", "PPM"])
def test_formats_that_no_web_page_shows_are_refused(kind: str) -> None:
    """One that calls another program, one that tells its size too late, one for all others."""
    data = encode(Image.new("RGB", (32, 32), RED), kind)
    with pytest.raises(BadImageError, match="not_an_image"):
        decode_image(data)
    assert images.count_pixels(data) == 0


def test_a_picture_of_two_eyes_is_read() -> None:
    image = Image.new("RGB", (32, 24), RED)
    data = encode(image, "MPO", save_all=True, append_images=[image])
    assert decode_image(data).size == (32, 24)


@pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
def test_pictures_of_telephones_and_of_newer_pages(kind: str) -> None:
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener(thumbnails=False)
    elif not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    data = encode(Image.new("RGB", (32, 24), RED), kind)
    decoded = decode_image(data)
    assert decoded.size == (32, 24)
    assert np.abs(np.asarray(decoded).astype(int)[5, 5] - RED).max() < 8
    assert images.count_pixels(data) == 32 * 24
    with pytest.raises(BadImageError):
        decode_image(data[: len(data) // 2])


def test_a_picture_that_needs_an_extra_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(BadImageError, match="heic_needs_extra_heif"):
        decode_image(b"\0\0\0\x1cftypheic" + bytes(100))


def test_one_nan_does_not_blacken_a_picture() -> None:
    grey = np.linspace(0, 4, 24 * 32, dtype=np.float32).reshape(24, 32)
    sound = np.asarray(decode_image(encode(Image.fromarray(grey), "TIFF")))
    for value, expected in ((np.nan, 0), (np.inf, 255), (-np.inf, 0)):
        holed = grey.copy()
        holed[3, 4] = value
        found = np.asarray(decode_image(encode(Image.fromarray(holed), "TIFF")))
        assert found[3, 4].tolist() == [expected] * 3
        found = found.copy()
        found[3, 4] = sound[3, 4]
        np.testing.assert_array_equal(found, sound)
    with pytest.raises(BadImageError, match="no_finite_pixel"):
        decode_image(encode(Image.fromarray(np.full((4, 4), np.nan, np.float32)), "TIFF"))


def test_transparency_of_16_bits_lies_on_white() -> None:
    grey = Image.fromarray(np.array([[0, 30000, 65535]], np.uint16))
    # Pillow writes no transparency for this mode.
    data = encode(grey)
    chunk = b"tRNS" + (30000).to_bytes(2, "big")
    chunk = (2).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    place = data.index(b"IDAT") - 4
    decoded = decode_image(data[:place] + chunk + data[place:])
    assert np.asarray(decoded)[0, :, 0].tolist() == [0, 255, 255]
