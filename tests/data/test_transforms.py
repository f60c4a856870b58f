"""Pixels: normalised as published, augmented within bounds, drawn from the given stream."""

import numpy as np
import pytest
import torch
from PIL import Image

from blip.data.augment import OPERATIONS, rand_augment
from blip.data.config import ImageConfig
from blip.data.transforms import eval_transform, train_transform
from tests.data.pictures import pixels


def source(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


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
        ({"size": 0}, "size must be positive, got 0"),
        ({"crop_scale": (0.5, 0.2)}, "crop_scale must be two shares"),
        ({"augment_magnitude": 11}, "augment_magnitude must lie in 0..10, got 11"),
    ],
)
def test_impossible_settings_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImageConfig(**change)
