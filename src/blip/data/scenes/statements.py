"""True or false statements about a left and a right picture, like NLVR2's."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from blip.data.scenes.check import check_facts
from blip.data.scenes.config import ScenesConfig
from blip.data.scenes.language import caption
from blip.data.scenes.scene import Scene
from blip.data.scenes.words import PLURALS

TRIES = 60


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence about a left and a right image, and whether it is true."""

    text: str
    truth: bool


def statement(
    left: Scene, right: Scene, config: ScenesConfig, rng: np.random.Generator
) -> Statement:
    """A statement about two scenes; half of each kind are true, as far as such scenes are found.

    Otherwise the kind alone would tell much of the truth.
    """
    truth = bool(rng.random() < 0.5)
    make = _MAKERS[int(rng.integers(len(_MAKERS)))]
    form = float(rng.random())
    made = make(left, right, config, form, rng)
    for _ in range(TRIES):
        if made.truth == truth:
            break
        made = make(left, right, config, form, rng)
    return made


Maker = Callable[[Scene, Scene, ScenesConfig, float, np.random.Generator], Statement]
"""Takes a number of 0 to 1 that chooses among its forms, in which it may differ otherwise."""


def _some_thing(left: Scene, right: Scene, config: ScenesConfig, rng: np.random.Generator) -> str:
    """A colour and shape, mostly of an object in one of the pictures."""
    things = (*left.things, *right.things)
    chosen = things[int(rng.integers(len(things)))]
    colour, shape = chosen.colour, chosen.shape
    if rng.random() < 0.3:
        colour, shape = str(rng.choice(config.colours)), str(rng.choice(config.shapes))
    return f"{'an' if colour[0] in 'aeiou' else 'a'} {colour} {shape}"


def _both(
    left: Scene, right: Scene, config: ScenesConfig, form: float, rng: np.random.Generator
) -> Statement:
    thing = _some_thing(left, right, config, rng)
    held = [check_facts(thing, scene).correct for scene in (left, right)]
    looks = [{(one.colour, one.shape) for one in scene.things} for scene in (left, right)]
    # Of images that share nothing, what is said of both is never true.
    number = int(4 * form) if looks[0] & looks[1] else 1 + int(3 * form)
    text, truth = (
        ("there is {} in both images", all(held)),
        ("there is {} in at least one image", any(held)),
        ("exactly one of the images shows {}", held[0] != held[1]),
        ("neither image shows {}", not any(held)),
    )[number]
    return Statement(text.format(thing), truth)


def _one_side(
    left: Scene, right: Scene, config: ScenesConfig, form: float, rng: np.random.Generator
) -> Statement:
    """Say a caption of one image of the same or of the other image."""
    scenes = {"left": left, "right": right}
    captioned, named = (str(side) for side in rng.choice(list(scenes), 2))
    text = caption(scenes[captioned], rng, ("{}",))
    return Statement(f"the {named} image shows {text}", check_facts(text, scenes[named]).correct)


def _numbers(
    left: Scene, right: Scene, config: ScenesConfig, form: float, rng: np.random.Generator
) -> Statement:
    first, second = len(left.things), len(right.things)
    text, truth = (
        ("the left image shows more things than the right image", first > second),
        ("the right image shows more things than the left image", second > first),
        ("both images show the same number of things", first == second),
    )[int(rng.integers(3))]
    return Statement(text, truth)


def _total(
    left: Scene, right: Scene, config: ScenesConfig, form: float, rng: np.random.Generator
) -> Statement:
    shown = [thing.shape for thing in (*left.things, *right.things)]
    # Also of what is not there: "one ring" would else be true nearly always.
    shape = str(rng.choice(shown if form < 0.5 else config.shapes))
    number = sum(thing.shape == shape for thing in (*left.things, *right.things))
    stated = max(1, number + int(rng.integers(-1, 2)))
    word = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")[stated - 1]
    noun, verb = (shape, "is") if stated == 1 else (PLURALS[shape], "are")
    return Statement(f"there {verb} {word} {noun} in all", stated == number)


def _grounds(
    left: Scene, right: Scene, config: ScenesConfig, form: float, rng: np.random.Generator
) -> Statement:
    same = left.background == right.background
    ground = str(rng.choice([left.background, right.background]))
    text, truth = (
        ("both images have the same background", same),
        ("the images have different backgrounds", not same),
        (f"both images have a {ground} background", same),
        (f"only the left image has a {left.background} background", not same),
    )[int(rng.integers(4))]
    return Statement(text, truth)


_MAKERS: tuple[Maker, ...] = (_both, _one_side, _numbers, _total, _grounds)
