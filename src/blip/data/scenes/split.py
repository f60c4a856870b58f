"""Which scene belongs to which split, so that what is tested was not trained on."""

import zlib
from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from blip.data.scenes.config import ScenesConfig
from blip.data.scenes.scene import Scene, draw_scene

Split = Literal["human", "web", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

SHARES = 12
"""One of so many combinations of objects is seen in val alone, and one in test alone."""
TRIES = 200


def random_source(
    config: ScenesConfig, split: Split, number: int, attempt: int = 0
) -> np.random.Generator:
    """The random stream of one sample; no two samples of any splits share one."""
    entropy = [config.seed, SPLITS.index(split), number, attempt]
    return np.random.Generator(np.random.PCG64(entropy))


def belongs(scene: Scene, split: Split) -> bool:
    """Whether a split may show this scene.

    Combinations of different objects are dealt out by a hash of what they show: some to val, some
    to test, the rest to human and web. Lone objects and groups of equal ones, of which there are
    few kinds, may appear everywhere.
    """
    if _kinds(scene) == 1:
        return True
    match zlib.crc32(scene.identity.encode()) % SHARES:
        case 0:
            return split == "val"
        case 1:
            return split == "test"
        case _:
            return split in ("human", "web")


def draw_scene_for(config: ScenesConfig, split: Split, rng: np.random.Generator) -> Scene:
    """Draw a scene, and others with as many different objects until one belongs to the split.

    A configuration with so few kinds of objects that nothing belongs there gets any scene.
    """
    first = draw_scene(config, rng)
    if belongs(first, split):
        return first
    count = _kinds(first)
    alike = replace(config, groups=0.0, min_objects=count, max_objects=count)
    for _ in range(TRIES):
        scene = draw_scene(alike, rng)
        if belongs(scene, split):
            return scene
    return first


def _kinds(scene: Scene) -> int:
    return len({thing.look for thing in scene.things})
