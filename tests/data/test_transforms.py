"""Pixels: normalised as published, augmented within bounds, drawn from the given stream."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from pyarrow import parquet

from blip.data.augment import OPERATIONS, _affine, rand_augment
from blip.data.config import ImageConfig
from blip.data.images import BadImageError, decode_image
from blip.data.transforms import (
    _choose_crop,
    _shrink,
    decode_train_pixels,
    eval_transform,
    normalise,
    train_pixels,
)
from tests.support.pictures import encode, pixels

SHARED = Path(os.environ.get("BLIP_SHARED", "../shared"))


def source(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def train_transform(
    image: Image.Image, config: ImageConfig, rng: np.random.Generator
) -> torch.Tensor:
    """A picture as `normalise` gives it to a model in training."""
    return normalise(train_pixels(image, config, rng)[None])[0]


def test_evaluation_squashes_and_normalises() -> None:
    grey = Image.new("RGB", (50, 20), (128, 128, 128))
    result = eval_transform(grey, 16)
    assert result.shape == (3, 16, 16)
    expected = (128 / 255 - np.array([0.48145466, 0.4578275, 0.40821073])) / np.array(
        [0.26862954, 0.26130258, 0.27577711]
    )
    torch.testing.assert_close(result[:, 5, 5].double(), torch.tensor(expected), rtol=1e-5, atol=0)


def test_evaluation_is_pillows_bicubic() -> None:
    image = Image.fromarray(pixels(40, 60))
    resized = np.asarray(image.resize((16, 16), Image.Resampling.BICUBIC)) / 255
    back = eval_transform(image, 16).permute(1, 2, 0).numpy()
    restored = back * [0.26862954, 0.26130258, 0.27577711] + [0.48145466, 0.4578275, 0.40821073]
    np.testing.assert_allclose(restored, resized, atol=1e-5)


@pytest.mark.parametrize("shape", [(40, 60), (200, 3), (2, 300), (16, 16)])
def test_training_pictures_have_the_size_and_follow_the_stream(shape: tuple[int, int]) -> None:
    image, config = Image.fromarray(pixels(*shape)), ImageConfig(size=16)
    first = train_transform(image, config, source(1))
    assert first.shape == (3, 16, 16)
    assert torch.equal(first, train_transform(image, config, source(1)))
    others = [train_transform(image, config, source(seed)) for seed in range(2, 8)]
    assert any(not torch.equal(first, other) for other in others)


def test_a_plain_configuration_is_the_evaluation() -> None:
    image = Image.fromarray(pixels(40, 60))
    config = ImageConfig(size=16, crop_scale=(1.0, 1.0), flip=False, augment_ops=0)
    assert config.plain
    assert torch.equal(train_transform(image, config, source(0)), eval_transform(image, 16))


def test_crops_keep_the_share_that_they_should() -> None:
    # The picture's green grows from left to right: its range tells the width of the crop.
    ramp = np.zeros((100, 100, 3), dtype=np.uint8)
    ramp[:, :, 1] = np.arange(100)
    ramp[:, :, 0] = np.arange(100)[:, None]
    config = ImageConfig(size=50, crop_scale=(0.25, 0.5), flip=False, augment_ops=0)
    for seed in range(30):
        result = train_transform(Image.fromarray(ramp), config, source(seed))
        spans = [
            float(np.ptp(result[c].numpy())) * s * 255
            for c, s in ((0, 0.26862954), (1, 0.26130258))
        ]
        assert 0.15 < spans[0] * spans[1] / 100**2 < 0.55


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_keeps_the_size_and_does_something(name: str) -> None:
    # Neither full contrast nor flat: every operation has something to do.
    image = Image.fromarray((pixels(32, 32) // 3 + 40).astype(np.uint8))
    result = OPERATIONS[name](image, 0.9, 1.0)
    assert result.size == image.size
    assert result.mode == "RGB"
    assert (np.asarray(result) == np.asarray(image)).all() == (name == "Identity")


def test_augmentation_is_the_published_ten() -> None:
    assert len(OPERATIONS) == 10
    image = Image.fromarray((pixels() // 3 + 40).astype(np.uint8))
    changed = sum(
        bool((np.asarray(rand_augment(image, 2, 5, source(seed))) != np.asarray(image)).any())
        for seed in range(200)
    )
    # Each of two draws is carried out every other time. At the published magnitude, half of the
    # greatest, brightness and sharpness have the factor 1: with the identity, three do nothing.
    assert 0.5 < changed / 200 < 0.65


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 0}, "`size` is 0; allowed"),
        (
            {"crop_scale": (0.5, 0.2)},
            r"`crop_scale\.1` is 0.2; allowed: a finite number from 0.5 to 1",
        ),
        (
            {"augment_magnitude": 11},
            "`augment_magnitude` is 11; allowed: a whole number from 0 to 10",
        ),
    ],
)
def test_impossible_settings_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImageConfig(**change)


@pytest.mark.parametrize("name", ["TranslateX", "TranslateY"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_move_by_whole_pixels_is_the_filtered_move(name: str, sign: float) -> None:
    image = Image.fromarray(pixels(224, 224))
    matrix = (1, 0, 5 * sign, 0, 1, 0) if name == "TranslateX" else (1, 0, 0, 0, 1, 5 * sign)
    np.testing.assert_array_equal(
        np.asarray(OPERATIONS[name](image, 0.5, sign)), np.asarray(_affine(image, matrix))
    )


def test_half_the_strength_leaves_brightness_and_sharpness() -> None:
    image = Image.fromarray(pixels(32, 32))
    for kind in ("Brightness", "Sharpness"):
        assert OPERATIONS[kind](image, 0.5, 1.0) is image
        plain = getattr(ImageEnhance, kind)(image).enhance(1.0)
        np.testing.assert_array_equal(np.asarray(plain), np.asarray(image))


def test_a_crop_is_pillows_bicubic_within_two_steps() -> None:
    image, config = smooth(180, 240), ImageConfig(size=32, flip=False, augment_ops=0)
    for seed in range(10):
        left, top, width, height = _choose_crop(image.size, config.crop_scale, source(seed))
        part = image.crop((left, top, left + width, top + height))
        expected = part.resize((32, 32), Image.Resampling.BICUBIC)
        ours = train_pixels(image, config, source(seed)).astype(int)
        assert np.abs(ours - np.asarray(expected).astype(int)).max() <= 2


def smooth(height: int, width: int) -> Image.Image:
    coarse = Image.fromarray(pixels(height // 8, width // 8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


def full_size(content: bytes, config: ImageConfig, seed: int) -> tuple[np.ndarray, int]:
    """The crop that `decode_train_pixels` makes, by full decoding and Pillow's filter."""
    image = decode_image(content)
    crop = _choose_crop(image.size, config.crop_scale, source(seed))
    by = _shrink((crop.width, crop.height), config.size)
    part = crop.shrunk(by)
    assert crop.left <= by * part.left < crop.left + by
    assert crop.width - 2 * by < by * part.width <= crop.width
    assert min(part.width, part.height) >= min(config.size, crop.width, crop.height)
    box = tuple(
        by * edge for edge in (part.left, part.top, part.left + part.width, part.top + part.height)
    )
    size = (config.size, config.size)
    return np.asarray(image.crop(box).resize(size, Image.Resampling.BICUBIC)).astype(int), by


@given(
    width=st.integers(3, 20).map(lambda blocks: 8 * blocks),
    height=st.integers(3, 20).map(lambda blocks: 8 * blocks),
    seed=st.integers(0, 1000),
    orientation=st.integers(1, 8),
)
def test_a_shrunk_jpeg_gives_the_same_part_and_enlarges_nothing(
    width: int, height: int, seed: int, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encode(smooth(height, width), "JPEG", quality=95, exif=exif)
    config = ImageConfig(size=12, flip=False, augment_ops=0)
    plain, _ = full_size(content, config, seed)
    ours = decode_train_pixels(content, config, source(seed)).astype(int)
    assert np.abs(ours - plain).mean() < 4


def test_an_image_that_is_not_a_jpeg_is_read_at_full_size() -> None:
    image, config = smooth(200, 300), ImageConfig(size=16)
    for seed in range(5):
        ours = decode_train_pixels(encode(image), config, source(seed))
        np.testing.assert_array_equal(ours, train_pixels(image, config, source(seed)))


@pytest.mark.skipif(not (SHARED / "flickr8k").is_dir(), reason="BLIP_SHARED has no photos")
def test_real_photos_shrunk_differ_little_from_photos_resized() -> None:
    table = parquet.read_table(SHARED / "flickr8k/dev.parquet", columns=["image"]).slice(0, 40)
    config = ImageConfig(size=32, flip=False, augment_ops=0)
    factors, differences = [], []
    for number, row in enumerate(table.to_pylist()):
        plain, factor = full_size(row["image"], config, number)
        ours = decode_train_pixels(row["image"], config, source(number)).astype(int)
        differences.append(np.abs(ours - plain))
        factors.append(factor)
    assert {1, 2} == set(factors)
    # Of 255: the cosine transform and the bicubic filter make a smaller picture in their own ways.
    assert np.mean(differences) < 3
    assert np.max(np.mean(differences, axis=(1, 2, 3))) < 6


def test_the_largest_picture_of_a_training_is_a_choice() -> None:
    content = encode(Image.fromarray(pixels(20, 30)), "JPEG")
    rng = np.random.default_rng(0)
    assert decode_train_pixels(content, ImageConfig(size=8, max_pixels=600), rng).shape == (8, 8, 3)
    with pytest.raises(BadImageError, match="too_many_pixels"):
        decode_train_pixels(content, ImageConfig(size=8, max_pixels=599), rng)
