"""Pictures in memory are decoded once; all others each time, with the same pixels."""

import pickle

import numpy as np
import pytest

from blip.data.config import ImageConfig
from blip.data.examples import pixels as pixels_module
from blip.data.examples.pixels import TrainingPixels
from blip.data.images import BadImageError
from tests.support.pictures import photo

PLAIN = ImageConfig(size=8, crop_scale=(1.0, 1.0), flip=False, augment_ops=0)


def draw() -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(0))


def test_a_picture_with_a_key_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = TrainingPixels(PLAIN)
    first = made.make(photo(1), "a", draw())
    monkeypatch.setattr(pixels_module, "decode_image", None)
    assert made.make(photo(1), "a", draw()) is first
    with pytest.raises(TypeError):
        made.make(photo(2), "b", draw())


def test_plain_pixels_are_the_same_with_and_without_a_key() -> None:
    made = TrainingPixels(PLAIN)
    with_key, without = made.make(photo(1), "a", draw()), made.make(photo(1), None, draw())
    np.testing.assert_array_equal(with_key, without)
    assert len(made.cache) == 1


def test_what_is_random_comes_from_the_generator() -> None:
    made = TrainingPixels(ImageConfig(size=8))
    rng = draw()
    first, second, again = (made.make(photo(1), "a", r) for r in (rng, rng, draw()))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, second)


def test_a_full_cache_takes_no_more_and_workers_begin_with_an_empty_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pixels_module, "CACHE_BYTES", 8 * 8 * 3)
    made = TrainingPixels(PLAIN)
    for key in "ab":
        made.make(photo(1), key, draw())
    assert list(made.cache) == ["a"]
    copy = pickle.loads(pickle.dumps(made))
    assert (copy.cache, copy.cached_bytes) == ({}, 0)


def test_a_broken_picture_raises() -> None:
    with pytest.raises(BadImageError):
        TrainingPixels(PLAIN).make(photo(1)[:90], None, draw())
