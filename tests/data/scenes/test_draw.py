"""What a scene says can be seen in its picture."""

import itertools

import numpy as np
import pytest

from blip.data.scenes.draw import JITTER, paint
from blip.data.scenes.scene import Scene
from blip.data.scenes.words import BACKGROUNDS, COLOURS, PATTERNS, SHAPES, SIZES
from tests.support.scenes import scene_of, source, thing


def pixels(scene: Scene, size: int = 48, seed: int = 0) -> np.ndarray:
    return np.asarray(paint(scene, size, source(seed)), dtype=int)


def test_same_seed_same_pixels() -> None:
    for seed in range(5):
        scene = scene_of(seed)
        np.testing.assert_array_equal(pixels(scene, seed=seed), pixels(scene, seed=seed))


@pytest.mark.parametrize("size", [16, 48, 96])
def test_size_and_mode(size: int) -> None:
    image = paint(scene_of(1), size, source(1))
    assert image.size == (size, size)
    assert image.mode == "RGB"


@pytest.mark.parametrize(("background", "colour"), [*itertools.product(BACKGROUNDS, COLOURS)])
def test_colours_are_as_named_and_stand_out(background: str, colour: str) -> None:
    array = pixels(Scene(background, (thing("square", colour),)))
    np.testing.assert_allclose(array[2, 2], BACKGROUNDS[background], atol=JITTER)
    np.testing.assert_allclose(array[24, 24], COLOURS[colour], atol=JITTER)
    assert np.abs(array[2, 2] - array[24, 24]).sum() > 80


def test_named_colours_differ_more_than_they_stray() -> None:
    for one, other in itertools.combinations([*COLOURS.values(), *BACKGROUNDS.values()], 2):
        assert np.abs(np.subtract(one, other)).max() > 4 * JITTER


@pytest.mark.parametrize("size", list(SIZES))
def test_shapes_and_patterns_look_different(size: str) -> None:
    looks = {
        (shape, pattern): pixels(Scene("grey", (thing(shape, "blue", size=size, pattern=pattern),)))
        for shape, pattern in itertools.product(SHAPES, PATTERNS)
    }
    for (one, first), (other, second) in itertools.combinations(looks.items(), 2):
        different = np.abs(first - second).sum(axis=2) > 60
        assert different.sum() >= 10, (one, other)


@pytest.mark.parametrize("shape", list(SHAPES))
def test_big_is_bigger(shape: str) -> None:
    def area(size: str) -> int:
        array = pixels(Scene("pink", (thing(shape, "black", size=size),)))
        return int((array.sum(axis=2) < 400).sum())

    assert area("big") > 1.7 * area("small") > 0


def test_objects_stand_where_the_scene_says() -> None:
    array = pixels(Scene("pink", (thing("circle", "black", 0.25, 0.75),)))
    rows, columns = np.nonzero(array.sum(axis=2) < 200)
    assert rows.mean() == pytest.approx(0.75 * 48, abs=1)
    assert columns.mean() == pytest.approx(0.25 * 48, abs=1)
