"""True captions of scenes, in varied English from a small grammar."""

from collections.abc import Sequence

import numpy as np

from blip.data.scenes.scene import Scene, Thing, relation_holds
from blip.data.scenes.words import NUMBERS, PATTERNS, PLURALS, RELATIONS, SHAPES, SIZES

HUMAN_FRAMES = (
    "{}",
    "{}",
    "{}",
    "{}",
    "there {be} {}",
    "a picture of {}",
    "a drawing of {}",
)
WEB_FRAMES = ("{}", "{}", "{}", "{}", "image of {}", "photo of {}", "{} picture")
BACKGROUND_FRAMES = ("{} on a {} background", "{} against a {} background")

TRIES = 4

Speaker = np.random.Generator


def caption(scene: Scene, rng: Speaker, frames: Sequence[str] = HUMAN_FRAMES) -> str:
    """A true sentence that names all objects of the scene with colour and shape."""
    text = _things(scene, rng)
    frame = str(rng.choice(frames))
    sentence = frame.replace("{be}", "are" if scene.is_group else "is").replace("{}", text)
    if frame != "{} picture" and rng.random() < 0.35:
        background = str(rng.choice(BACKGROUND_FRAMES))
        sentence = background.format(sentence, scene.background)
    return sentence


def captions(scene: Scene, count: int, rng: Speaker) -> list[str]:
    """Several captions of a scene, different ones if a few tries find them."""
    found: list[str] = []
    for _ in range(count):
        text = caption(scene, rng)
        for _ in range(TRIES):
            if text not in found:
                break
            text = caption(scene, rng)
        found.append(text)
    return found


def _things(scene: Scene, rng: Speaker) -> str:
    things = list(scene.things)
    if scene.is_group:
        number = next(word for word, count in NUMBERS.items() if count == len(things))
        return f"{number} {_noun(things[0], rng, plural=True)}"
    order = [things[i] for i in rng.permutation(len(things))]
    if len(order) == 1:
        return _with_article(order[0], rng)
    if len(order) == 2:
        return _two(order[0], order[1], rng)
    # Of three objects, state one relation and list the third.
    return f"{_two(order[0], order[1], rng)} and {_with_article(order[2], rng)}"


def _two(one: Thing, other: Thing, rng: Speaker) -> str:
    first, second = _with_article(one, rng), _with_article(other, rng)
    holding = [kind for kind in RELATIONS if relation_holds(kind, one, other)]
    if not holding or rng.random() < 0.2:
        return f"{first} and {second}"
    phrase = str(rng.choice(RELATIONS[holding[0]]))
    return f"{first} {phrase} {second}"


def _with_article(thing: Thing, rng: Speaker) -> str:
    noun = _noun(thing, rng, plural=False)
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _noun(thing: Thing, rng: Speaker, *, plural: bool) -> str:
    words = []
    if rng.random() < 0.6:
        words.append(str(rng.choice(SIZES[thing.size])))
    if thing.pattern != "solid" and rng.random() < 0.8:
        words.append(str(rng.choice(PATTERNS[thing.pattern])))
    # Mostly use the usual name.
    names = SHAPES[thing.shape]
    name = names[0] if rng.random() < 0.85 else str(rng.choice(names))
    return " ".join([*words, thing.colour, PLURALS[name] if plural else name])
