"""Video clips: scenes in which one object moves, appears or disappears, with captions."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image

from blip.data.scenes.config import ScenesConfig
from blip.data.scenes.draw import paint
from blip.data.scenes.scene import Scene, Thing, draw_scene

Motion = Literal["left", "right", "up", "down", "appears", "disappears"]
MOTIONS: tuple[Motion, ...] = get_args(Motion)

_START = {"left": 0.82, "right": 0.18, "up": 0.82, "down": 0.18}
_VERBS = ("moves", "is moving", "goes", "slides")


@dataclass(frozen=True, slots=True)
class Clip:
    """A scene per frame, in which the last object moves."""

    frames: tuple[Scene, ...]
    motion: Motion
    moving: Thing
    captions: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values, for KEY.json."""
        return {
            "frames": [frame.to_json() for frame in self.frames],
            "motion": self.motion,
            "moving": asdict(self.moving),
            "captions": list(self.captions),
        }


def draw_clip(config: ScenesConfig, rng: np.random.Generator, *, frames: int = 8) -> Clip:
    """Draw a clip of `frames` frames with one object that moves and at most one that stays.

    The moving one crosses most of the picture at constant speed, beside the other. One that appears
    or disappears does so between the second and the last frame. There are `config.captions`
    captions.
    """
    if frames < 2:
        raise ValueError(f"frames must be at least 2, got {frames}")
    two = min(2, config.max_objects, len(config.shapes) * len(config.colours))
    few = replace(config, groups=0.0, min_objects=1, max_objects=two)
    scene = draw_scene(few, rng)
    motion: Motion = MOTIONS[int(rng.integers(len(MOTIONS)))]
    still = tuple(_set_beside(thing, motion) for thing in scene.things[:-1])
    moving = scene.things[-1]
    if motion in _START and still:
        moving = replace(moving, **({"y": 0.75} if motion in ("left", "right") else {"x": 0.75}))
    change = int(rng.integers(1, frames))
    shown = []
    for number in range(frames):
        now = _at(moving, motion, number / (frames - 1))
        hidden = (motion == "appears" and number < change) or (
            motion == "disappears" and number >= change
        )
        shown.append(Scene(scene.background, still if hidden else (*still, now)))
    captions = tuple(_caption(moving, still, motion, rng) for _ in range(config.captions))
    return Clip(tuple(shown), motion, moving, captions)


def paint_clip(clip: Clip, size: int, seed: int) -> list[Image.Image]:
    """The pictures of a clip, `size` x `size` RGB; colours vary equally in all frames."""
    return [paint(frame, size, np.random.default_rng(seed)) for frame in clip.frames]


def _set_beside(thing: Thing, motion: Motion) -> Thing:
    """Move an object out of the way of the moving one."""
    if motion in ("left", "right"):
        return replace(thing, y=0.25)
    if motion in ("up", "down"):
        return replace(thing, x=0.25)
    return thing


def _at(thing: Thing, motion: Motion, done: float) -> Thing:
    if motion not in _START:
        return thing
    start = _START[motion]
    place = round(start + done * (1 - 2 * start), 4)
    return replace(thing, x=place) if motion in ("left", "right") else replace(thing, y=place)


def _caption(
    moving: Thing, still: tuple[Thing, ...], motion: Motion, rng: np.random.Generator
) -> str:
    match motion:
        case "left" | "right":
            said = f"{rng.choice(_VERBS)} {rng.choice([motion, f'to the {motion}'])}"
        case "up" | "down":
            said = f"{rng.choice(_VERBS)} {motion}"
        case "appears":
            said = str(rng.choice(["appears", "comes up"]))
        case "disappears":
            said = str(rng.choice(["disappears", "vanishes"]))
    text = f"{_name(moving)} {said}"
    if still and rng.random() < 0.5:
        joint = str(rng.choice(["beside", "next to", "near"]))
        text = f"{text} {joint} {_name(still[0])}"
    return text


def _name(thing: Thing) -> str:
    return f"{'an' if thing.colour[0] in 'aeiou' else 'a'} {thing.colour} {thing.shape}"
