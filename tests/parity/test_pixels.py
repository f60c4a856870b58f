"""Pixels for evaluation against transformers' Pillow processor and torchvision's arithmetic."""

import io

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from blip.data.images import decode_image
from blip.data.transforms import MEAN, STD, eval_transform, normalise
from blip.inference.pixels import to_pixels
from tests.support.pictures import encode, pixels
from tests.support.vectors import FOLDER

PHOTOS = FOLDER.parent / "flickr8k" / "dev.parquet"
CLOSE = {"rtol": 0.0, "atol": 2e-6}
"""A unit of uint8 is 0.014 here: nothing but the order of float32 operations may differ."""


def photos(count: int) -> list[bytes]:
    if not PHOTOS.is_file():
        pytest.skip(f"no photos at {PHOTOS} (set BLIP_SHARED)")
    rows = next(pq.ParquetFile(PHOTOS).iter_batches(count, columns=["image"]))
    return rows.column("image").to_pylist()


def by_transformers(images: list[Image.Image], size: int) -> torch.Tensor:
    processor = BlipImageProcessorPil(size={"height": size, "width": size})
    return processor(images, return_tensors="pt")["pixel_values"]


def by_torchvision(image: Image.Image, size: int) -> torch.Tensor:
    """What its Resize (of a PIL picture), ToTensor and Normalize compute, in their order."""
    resized = image.resize((size, size), Image.Resampling.BICUBIC)
    tensor = torch.from_numpy(np.array(resized)).permute(2, 0, 1).contiguous().float().div(255)
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    return tensor.sub(mean[:, None, None]).div(std[:, None, None])


def test_the_published_figures() -> None:
    processor = BlipImageProcessorPil()
    assert (processor.size["height"], processor.size["width"]) == (384, 384)
    assert processor.resample == Image.Resampling.BICUBIC
    assert processor.rescale_factor == pytest.approx(1 / 255)
    assert tuple(processor.image_mean) == MEAN
    assert tuple(processor.image_std) == STD


@pytest.mark.parametrize("size", [384, 224, 128, 96])
def test_photos(size: int) -> None:
    images = [Image.open(io.BytesIO(content)).convert("RGB") for content in photos(24)]
    mine = torch.stack([eval_transform(image, size) for image in images])
    torch.testing.assert_close(mine, by_transformers(images, size), **CLOSE)
    for image, one in zip(images, mine, strict=True):
        assert torch.equal(one, by_torchvision(image, size))


def test_photos_on_the_way_of_shards_and_of_callers() -> None:
    contents = photos(6)
    images = [Image.open(io.BytesIO(content)) for content in contents]
    expected = by_transformers(images, 96)
    by_shards = torch.stack([eval_transform(decode_image(content), 96) for content in contents])
    torch.testing.assert_close(by_shards, expected, **CLOSE)
    torch.testing.assert_close(to_pixels(images, 96, torch.device("cpu")), expected, **CLOSE)


@pytest.mark.parametrize(
    "shape",
    [(1, 1), (1, 500), (383, 385), (384, 384), (640, 427), (33, 1000), (1200, 901), (2, 3)],
    ids=lambda shape: "x".join(map(str, shape)),
)
def test_pictures_of_odd_sizes(shape: tuple[int, int]) -> None:
    for content in (pixels(*shape), smooth(*shape), np.full((*shape, 3), 255, np.uint8)):
        image = Image.fromarray(content)
        mine = eval_transform(image, 384)
        assert mine.shape == (3, 384, 384)
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine[None], by_transformers([image], 384), **CLOSE)
        assert torch.equal(mine, by_torchvision(image, 384))


def smooth(height: int, width: int) -> np.ndarray:
    """Slopes and waves, whose resampling overshoots where it is not clipped."""
    down, right = np.linspace(0, 1, height)[:, None], np.linspace(0, 1, width)[None]
    waves = 0.5 + 0.5 * np.sin(40 * down * right)
    channels = [down + 0 * right, right + 0 * down, np.round(waves)]
    return (255 * np.stack(channels, axis=-1)).astype(np.uint8)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "LA"])
def test_pictures_of_other_modes_that_callers_hand_in(mode: str) -> None:
    # Both convert to RGB by Pillow's own rules, which leave transparency out.
    image = Image.fromarray(pixels(50, 70)).convert("RGB").convert(mode)
    expected = by_transformers([image], 64)
    torch.testing.assert_close(to_pixels([image], 64, torch.device("cpu")), expected, **CLOSE)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_files_of_other_modes_that_shards_hold(kind: str) -> None:
    grey = encode(Image.fromarray(pixels(50, 70)).convert("L"), kind)
    expected = by_transformers([Image.open(io.BytesIO(grey))], 64)
    torch.testing.assert_close(eval_transform(decode_image(grey), 64)[None], expected, **CLOSE)


def test_every_value_of_a_pixel() -> None:
    ramp = np.stack([np.arange(256, dtype=np.uint8)] * 3, axis=-1)[None].repeat(256, axis=0)
    image = Image.fromarray(ramp)
    assert torch.equal(normalise(ramp[None])[0], by_torchvision(image, 256))
    torch.testing.assert_close(normalise(ramp[None]), by_transformers([image], 256), **CLOSE)
