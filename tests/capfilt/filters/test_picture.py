"""Pictures that look alike have hashes that differ little; others differ much."""

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from blip.capfilt.filters.picture import image_hash


def photo(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 255, (9, 12, 3), np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def distance(one: Image.Image, other: Image.Image) -> int:
    first, second = image_hash(one), image_hash(other)
    assert first is not None
    assert second is not None
    return (first ^ second).bit_count()


def recompressed(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


@pytest.mark.parametrize("seed", range(8))
def test_copies_are_near_and_others_far(seed):
    image = photo(seed)
    assert distance(image, recompressed(image, 30)) <= 4
    assert distance(image, image.resize((97, 61))) <= 4
    assert distance(image, ImageEnhance.Brightness(image).enhance(0.8)) <= 4
    assert distance(image, photo(seed + 100)) > 12
    assert distance(image, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) > 12


def test_a_picture_of_one_colour_has_none():
    assert image_hash(Image.new("RGB", (64, 64), "red")) is None
    assert image_hash(Image.new("RGB", (1, 1))) is None


def test_it_is_64_bits_by_the_cosine_transform():
    """The bits are those of the sums that define the transform."""
    image = photo(3, (32, 32))
    grey = np.asarray(image.convert("L"), float)
    place = np.arange(32)

    def wave(row: int, column: int) -> float:
        down = np.cos(np.pi * (2 * place + 1) * row / 64) * (1 if row else 0.5**0.5)
        across = np.cos(np.pi * (2 * place + 1) * column / 64) * (1 if column else 0.5**0.5)
        return float((grey * np.outer(down, across)).sum() / 16)

    waves = [wave(row, column) for row in range(8) for column in range(8)]
    bits = "".join("1" if value > np.median(waves[1:]) else "0" for value in waves)
    assert image_hash(image) == int(bits, 2)
