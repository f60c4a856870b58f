"""A scene: a background and some objects, placed so that their relations are clear."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from blip.config import strict
from blip.data.scenes.config import ScenesConfig
from blip.data.scenes.words import RADII
from blip.errors import UsageError

MIN_DISTANCE = 0.15
"""Minimum distance of objects that are left of (or above) one another, as a share of the side."""


@dataclass(frozen=True, slots=True)
class Thing:
    """One object, with its centre at `x`, `y` as shares of the side, from the upper left."""

    shape: str
    colour: str
    size: str
    pattern: str
    x: float
    y: float

    @property
    def look(self) -> tuple[str, str, str, str]:
        """All attributes except the position."""
        return self.shape, self.colour, self.size, self.pattern


@dataclass(frozen=True, slots=True)
class Scene:
    """What a picture shows."""

    background: str
    things: tuple[Thing, ...]

    @property
    def is_group(self) -> bool:
        """Whether it shows several equal objects."""
        return len(self.things) > 1 and len({thing.look for thing in self.things}) == 1

    @property
    def identity(self) -> str:
        """The objects without their positions: equal for scenes of the same objects."""
        looks = sorted(" ".join(thing.look) for thing in self.things)
        return f"{self.background}: {', '.join(looks)}"

    def to_json(self) -> dict[str, Any]:
        """Plain values, for KEY.json."""
        return {"background": self.background, "things": [asdict(t) for t in self.things]}

    @classmethod
    def from_json(cls, data: Any) -> "Scene":
        """Read what `to_json` made; raises UsageError for anything else."""
        return strict.from_json(cls, data)

    @classmethod
    def of(cls, meta: dict[str, Any]) -> "Scene | None":
        """The scene that a KEY.json describes; None if it has no scene."""
        try:
            return cls.from_json(meta["scene"]) if "scene" in meta else None
        # Other collections may have another field of that name.
        except UsageError:
            return None


def relation_holds(kind: str, one: Thing, other: Thing) -> bool:
    """Whether `one` is clearly left of, right of, above or below `other`."""
    match kind:
        case "left":
            return one.x + MIN_DISTANCE < other.x
        case "right":
            return other.x + MIN_DISTANCE < one.x
        case "above":
            return one.y + MIN_DISTANCE < other.y
        case _:
            return other.y + MIN_DISTANCE < one.y


def draw_scene(config: ScenesConfig, rng: np.random.Generator) -> Scene:
    """Draw a scene: some different objects in a row or column, or a group of equal ones."""
    background = str(rng.choice(config.backgrounds))
    if config.max_count > 1 and rng.random() < config.groups:
        count = int(rng.integers(2, config.max_count + 1))
        looks = [_look(config, rng)] * count
        places = _corners(count, 2 * RADII["big"] * config.object_scale, rng)
    else:
        most = min(config.max_objects, len(config.shapes) * len(config.colours))
        looks = _different(config, int(rng.integers(config.min_objects, most + 1)), rng)
        places = _line(len(looks), rng)
    things = [
        Thing(*look, x=round(float(x), 4), y=round(float(y), 4))
        for look, (x, y) in zip(looks, places, strict=True)
    ]
    return Scene(background, tuple(things))


def _look(config: ScenesConfig, rng: np.random.Generator) -> tuple[str, str, str, str]:
    # Most objects are plain, so that a pattern is worth a mention.
    pattern = "solid"
    others = [p for p in config.patterns if p != "solid"]
    if others and ("solid" not in config.patterns or rng.random() < 0.4):
        pattern = str(rng.choice(others))
    return (
        str(rng.choice(config.shapes)),
        str(rng.choice(config.colours)),
        str(rng.choice(config.sizes)),
        pattern,
    )


def _different(
    config: ScenesConfig, count: int, rng: np.random.Generator
) -> list[tuple[str, str, str, str]]:
    looks: list[tuple[str, str, str, str]] = []
    while len(looks) < count:
        look = _look(config, rng)
        # Objects that differ only in size or pattern would have the same name.
        if not any(look[:2] == known[:2] for known in looks):
            looks.append(look)
    return looks


def _line(count: int, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Positions in a row or a column, in random order."""
    if count == 1:
        return [tuple(rng.uniform(0.25, 0.75, 2))]
    # Three big objects are close: small offsets, so that they neither touch nor leave the picture.
    offset = 0.03 if count == 2 else 0.01
    along = (np.arange(count) + 0.5) / count + rng.uniform(-offset, offset, count)
    across = 0.5 + rng.uniform(-0.2, 0.2) + rng.uniform(-0.05, 0.05, count)
    order = rng.permutation(count)
    places = list(zip(along[order], across[order], strict=True))
    return places if rng.random() < 0.5 else [(y, x) for x, y in places]


def _corners(count: int, extent: float, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Positions in different quarters of the picture, with random offsets that `extent` allows."""
    cells = [(0.27, 0.27), (0.73, 0.27), (0.27, 0.73), (0.73, 0.73)]
    offset = min(0.05, (0.45 - extent) / 2)
    chosen = rng.permutation(4)[:count]
    return [
        (cells[i][0] + rng.uniform(-offset, offset), cells[i][1] + rng.uniform(-offset, offset))
        for i in chosen
    ]
