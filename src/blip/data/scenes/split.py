"""Assigns scenes to splits, so that test scenes do not occur in training."""

import zlib
from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from blip.data.scenes.config import ScenesConfig
from blip.data.scenes.scene import Scene, draw_scene

Split = Literal["human", "web", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

SHARES = 12
"""One in `SHARES` combinations of objects occurs only in val, and one only in test."""
TRIES = 200


def random_source(
    config: ScenesConfig, split: Split, number: int, attempt: int = 0
) -> np.random.Generator:
    """The random stream of one sample, different for all samples of all splits."""
    entropy = [config.seed, SPLITS.index(split), number, attempt]
    return np.random.Generator(np.random.PCG64(entropy))


def belongs(scene: Scene, split: Split) -> bool:
    """Whether a split may show this scene.

    A hash assigns each combination of different objects to val, to test, or to human and web.
    Single objects and groups of equal ones, of which there are few kinds, may appear everywhere.
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
    """Draw scenes with the same number of different objects until one belongs to the split.

    If no scene belongs to it, because there are too few kinds of objects, take the first.
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
