"""Scenes can be seen and spoken of without doubt, and go through JSON."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blip.data.scenes.config import ScenesConfig
from blip.data.scenes.scene import Scene, draw_scene, relation_holds
from blip.data.scenes.words import OPPOSITE, RADII, RELATIONS
from tests.support.scenes import CONFIGS, SEEDS, scene_of, source, thing


@given(config=CONFIGS, seed=SEEDS)
def test_scenes_keep_to_their_configuration(config: ScenesConfig, seed: int) -> None:
    scene = draw_scene(config, source(seed))
    kinds = {thing.look for thing in scene.things}
    assert scene.background in config.backgrounds
    for shape, colour, size, pattern in kinds:
        assert shape in config.shapes
        assert colour in config.colours
        assert size in config.sizes
        assert pattern in config.patterns
    if scene.is_group:
        assert 2 <= len(scene.things) <= config.max_count
    else:
        assert len(kinds) == len(scene.things) <= config.max_objects
        # Colour and shape name each object.
        assert len({look[:2] for look in kinds}) == len(kinds)


@given(seed=SEEDS, limits=st.sampled_from([(3, 1.0), (2, 1.35), (2, 1.3), (3, 0.5)]))
def test_objects_lie_inside_and_apart(seed: int, limits: tuple[int, float]) -> None:
    most, scale = limits
    scene = scene_of(seed, max_objects=most, object_scale=scale)
    for one in scene.things:
        radius = RADII[one.size] * scale
        assert radius <= one.x + 0.005 <= 1.01 - radius
        assert radius <= one.y + 0.005 <= 1.01 - radius
    for one, other in itertools.combinations(scene.things, 2):
        apart = max(abs(one.x - other.x), abs(one.y - other.y))
        assert apart >= (RADII[one.size] + RADII[other.size]) * scale


@given(seed=SEEDS)
def test_different_objects_stand_in_one_clear_relation(seed: int) -> None:
    scene = scene_of(seed, groups=0.0)
    for one, other in itertools.combinations(scene.things, 2):
        holding = [kind for kind in RELATIONS if relation_holds(kind, one, other)]
        assert len(holding) == 1
        assert relation_holds(OPPOSITE[holding[0]], other, one)
        # Either the relation is clear, or there is not a trace of it: nothing lies in between.
        across = (one.y, other.y) if holding[0] in ("left", "right") else (one.x, other.x)
        assert abs(across[0] - across[1]) < 0.11


@given(seed=SEEDS)
def test_json_and_back(seed: int) -> None:
    scene = scene_of(seed)
    assert Scene.from_json(json.loads(json.dumps(scene.to_json()))) == scene


def test_same_seed_same_scene_and_other_seed_another() -> None:
    assert scene_of(5) == scene_of(5)
    assert len({scene_of(seed).identity for seed in range(40)}) > 30


@pytest.mark.parametrize("count", [1, 2, 3])
def test_number_of_objects_is_as_asked(count: int) -> None:
    for seed in range(20):
        scene = scene_of(seed, groups=0.0, min_objects=count, max_objects=count)
        assert len(scene.things) == count


def test_identity_is_blind_to_place_and_order_alone() -> None:
    star, ring = thing("star", "red", 0.2), thing("ring", "blue", 0.8)
    scene = Scene("grey", (star, ring))
    assert scene.identity == Scene("grey", (ring, thing("star", "red", 0.3))).identity
    assert scene.identity != Scene("pink", (star, ring)).identity
    assert scene.identity != Scene("grey", (star, thing("ring", "blue", size="small"))).identity
