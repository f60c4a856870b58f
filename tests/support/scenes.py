"""Scenes and configurations for property tests."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from blip.data.scenes.config import ScenesConfig
from blip.data.scenes.scene import Scene, Thing, draw_scene
from blip.data.scenes.words import COLOURS, PATTERNS, SHAPES, SIZES

SEEDS = st.integers(0, 2**32 - 1)


def some_of(names: dict[str, Any]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(list(names)), min_size=1, unique=True).map(tuple)


CONFIGS = st.builds(
    ScenesConfig,
    max_objects=st.integers(1, 3),
    max_count=st.integers(1, 4),
    groups=st.sampled_from([0.0, 0.25, 1.0]),
    shapes=some_of(SHAPES),
    colours=some_of(COLOURS),
    sizes=some_of(SIZES),
    patterns=some_of(PATTERNS),
)


def source(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def scene_of(seed: int, **changes: Any) -> Scene:
    return draw_scene(ScenesConfig(**changes), source(seed))


def thing(shape: str, colour: str, x: float = 0.5, y: float = 0.5, **changes: str) -> Thing:
    return Thing(shape, colour, changes.get("size", "big"), changes.get("pattern", "solid"), x, y)
