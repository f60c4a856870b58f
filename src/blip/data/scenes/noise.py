"""Web texts: some true, others of another image, wrong, truncated, or no caption at all."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from blip.data.scenes.check import check_facts
from blip.data.scenes.config import ScenesConfig
from blip.data.scenes.language import WEB_FRAMES, caption
from blip.data.scenes.scene import Scene
from blip.data.scenes.split import draw_scene_for
from blip.data.scenes.words import BACKGROUNDS, COLOURS, PATTERNS, SHAPES, SIZES

FILE_NAMES = (
    "IMG_{:04d}.JPG",
    "DSC{:05d}",
    "img-{:06d}.png",
    "Screenshot {:04d}",
    "P{:05d}.jpeg",
)
OFFERS = (
    "Buy now! only $ {:d}.99 free shipping",
    "best price {:d}% off sale wallpaper HD download",
    "click here for {:d} free vector clipart",
    "cheap posters and prints from $ {:d}",
    "royalty free stock {:d} px download now",
    "top {:d} ideas you will love",
)
CHANGES = {
    "colour": 0.35,
    "shape": 0.3,
    "place": 0.15,
    "size": 0.1,
    "pattern": 0.05,
    "ground": 0.05,
}
"""The attribute that `wrong_attribute` changes, with probabilities."""
TRIES = 200


@dataclass(frozen=True, slots=True)
class WebText:
    """A text, whether it matches its image, and its kind of noise (None: without)."""

    text: str
    matches: bool
    noise: str | None


def web_text(scene: Scene, config: ScenesConfig, rng: np.random.Generator) -> WebText:
    """A text for a scene, noisy with the configured probability.

    `matches` is checked, not assumed. Another image's text matches if it happens to be true, and so
    does a truncated text whose facts are complete and true (about one in ten, as texts are cut in
    the first half). A wrong count needs a single object or a group of equal ones; other scenes get
    a wrong attribute instead, and are labelled so.
    """
    kind = None
    if rng.random() < config.noise:
        kinds = list(config.noise_kinds)
        weights = np.array([config.noise_kinds[k] for k in kinds])
        kind = str(rng.choice(kinds, p=weights / weights.sum()))
    if kind == "wrong_count" and len({thing.look for thing in scene.things}) > 1:
        kind = "wrong_attribute"
    text = _text(kind, scene, config, rng)
    return WebText(text, check_facts(text, scene).correct, kind)


def _text(kind: str | None, scene: Scene, config: ScenesConfig, rng: np.random.Generator) -> str:
    match kind:
        case None:
            return caption(scene, rng, WEB_FRAMES)
        case "file_name":
            return str(rng.choice(FILE_NAMES)).format(int(rng.integers(1, 99999)))
        case "price_or_seo":
            return str(rng.choice(OFFERS)).format(int(rng.integers(2, 99)))
        case "truncated":
            words = caption(scene, rng, WEB_FRAMES).split()
            return " ".join(words[: int(rng.integers(1, max(2, len(words) // 2) + 1))])
        case "other_text":
            return caption(draw_scene_for(config, "web", rng), rng, WEB_FRAMES)
        case "wrong_count":
            return caption(_miscounted(scene, config, rng), rng, WEB_FRAMES)
        case _:
            return _wrong_caption(scene, config, rng)


def _miscounted(scene: Scene, config: ScenesConfig, rng: np.random.Generator) -> Scene:
    """The same object in another number, at least two: "one" is true of two objects as well."""
    most = max(3, config.max_count)
    others = [count for count in range(2, most + 1) if count != len(scene.things)]
    return replace(scene, things=scene.things[:1] * int(rng.choice(others)))


def _wrong_caption(scene: Scene, config: ScenesConfig, rng: np.random.Generator) -> str:
    """A caption of a scene that differs in one attribute, which the caption states."""
    for _ in range(TRIES):
        text = caption(_altered(scene, config, rng), rng, WEB_FRAMES)
        if check_facts(text, scene).wrong:
            return text
    raise AssertionError("colours can always be changed, and captions always state them")


def _altered(scene: Scene, config: ScenesConfig, rng: np.random.Generator) -> Scene:
    change = str(rng.choice(list(CHANGES), p=list(CHANGES.values())))
    if change == "ground":
        other = _other(scene.background, config.backgrounds, tuple(BACKGROUNDS), rng)
        return replace(scene, background=other)
    if change == "place":
        turned = (replace(thing, x=1 - thing.x, y=1 - thing.y) for thing in scene.things)
        return replace(scene, things=tuple(turned))
    chosen = scene.things[int(rng.integers(len(scene.things)))]
    allowed, known = {
        "colour": (config.colours, tuple(COLOURS)),
        "shape": (config.shapes, tuple(SHAPES)),
        "size": (config.sizes, tuple(SIZES)),
        "pattern": (config.patterns, tuple(PATTERNS)),
    }[change]
    new: dict[str, Any] = {change: _other(getattr(chosen, change), allowed, known, rng)}
    # All objects of a group change together.
    things = (replace(t, **new) if t.look == chosen.look else t for t in scene.things)
    return replace(scene, things=tuple(things))


def _other(
    value: str, allowed: tuple[str, ...], known: tuple[str, ...], rng: np.random.Generator
) -> str:
    """Another value that the data set uses, or any other value if it uses only one."""
    others = [v for v in allowed if v != value] or [v for v in known if v != value]
    return str(rng.choice(others))
