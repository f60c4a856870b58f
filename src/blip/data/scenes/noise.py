"""Texts as the web has them: some true, some of another image, wrong, cut, or no caption at all."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from blip.data.scenes.check import judge
from blip.data.scenes.config import ScenesConfig
from blip.data.scenes.language import WEB_FRAMES, caption
from blip.data.scenes.scene import Scene, draw_scene
from blip.data.scenes.words import COLOURS, NUMBERS, OPPOSITE, PLURALS, SHAPES, SIZES

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


@dataclass(frozen=True, slots=True)
class WebText:
    """A text, whether it matches its image, and what was done to it (None: nothing)."""

    text: str
    matches: bool
    noise: str | None


def web_text(scene: Scene, config: ScenesConfig, rng: np.random.Generator) -> WebText:
    """A text for a scene, spoilt with the configured chance.

    `matches` is judged, not assumed: another image's text that happens to be true matches, and a
    truncated text matches where what is left still states whole and true facts.
    """
    kind = None
    if rng.random() < config.noise:
        kinds = list(config.noise_kinds)
        weights = np.array([config.noise_kinds[k] for k in kinds])
        kind = str(rng.choice(kinds, p=weights / weights.sum()))
    if kind is None:
        text = caption(scene, rng, WEB_FRAMES)
    else:
        text, kind = _spoilt(kind, scene, config, rng)
    return WebText(text, judge(text, scene).correct, kind)


def _spoilt(
    kind: str, scene: Scene, config: ScenesConfig, rng: np.random.Generator
) -> tuple[str, str]:
    match kind:
        case "file_name":
            return str(rng.choice(FILE_NAMES)).format(int(rng.integers(1, 99999))), kind
        case "price_or_seo":
            return str(rng.choice(OFFERS)).format(int(rng.integers(2, 99))), kind
        case "truncated":
            words = caption(scene, rng, WEB_FRAMES).split()
            return " ".join(words[: int(rng.integers(1, max(2, len(words) // 2) + 1))]), kind
        case "other_text":
            return caption(draw_scene(config, rng), rng, WEB_FRAMES), kind
        case "wrong_count" if _swapped(scene, _other_number, rng) is not None:
            return str(_swapped(scene, _other_number, rng)), kind
        case _:
            wrong = _swapped(scene, _other_word, rng)
            assert wrong is not None, "a colour can always be changed into a wrong one"
            return wrong, "wrong_attribute"


def _swapped(
    scene: Scene, change: Callable[[str, np.random.Generator], str | None], rng: np.random.Generator
) -> str | None:
    """A caption with one word changed so that it is understood and wrong, or None."""
    for _ in range(40):
        words = caption(scene, rng, WEB_FRAMES).split()
        for place in rng.permutation(len(words)):
            other = change(words[place], rng)
            if other is None:
                continue
            text = " ".join([*words[:place], other, *words[place + 1 :]])
            verdict = judge(text, scene)
            if verdict.understood and verdict.wrong:
                return text
    return None


def _other_number(word: str, rng: np.random.Generator) -> str | None:
    return str(rng.choice([n for n in NUMBERS if n != word])) if word in NUMBERS else None


def _other_word(word: str, rng: np.random.Generator) -> str | None:
    if word in COLOURS:
        return str(rng.choice([colour for colour in COLOURS if colour != word]))
    if word in OPPOSITE:
        return OPPOSITE[word]
    plurals = {PLURALS[names[0]] for names in SHAPES.values()}
    for group in (set(SHAPES), plurals, set(SIZES)):
        if word in group:
            return str(rng.choice(sorted(group - {word})))
    return None
