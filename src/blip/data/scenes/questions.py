"""Questions about a scene, each with one correct answer."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from blip.data.scenes.check import check_facts
from blip.data.scenes.config import ScenesConfig
from blip.data.scenes.scene import Scene, Thing, relation_holds
from blip.data.scenes.words import NUMBERS, PLURALS, RELATIONS, SHAPES

Kind = Literal["colour", "shape", "size", "background", "count", "yes_no", "what", "where"]
KINDS: tuple[Kind, ...] = get_args(Kind)

COUNTS: dict[int, str] = {0: "none", 1: "one"} | {count: word for word, count in NUMBERS.items()}
PHRASES: dict[str, str] = {kind: phrases[0] for kind, phrases in RELATIONS.items()}

Asker = Callable[[Scene, ScenesConfig, np.random.Generator], Iterator["Question"]]


@dataclass(frozen=True, slots=True)
class Question:
    """A question, its usual answer and its kind; `also_right` holds other correct answers."""

    text: str
    answer: str
    kind: Kind
    also_right: tuple[str, ...] = ()


def questions(
    scene: Scene, count: int, config: ScenesConfig, rng: np.random.Generator
) -> list[Question]:
    """At most `count` different questions about a scene, of as many kinds as possible.

    Every question has one answer: "what colour is the star" needs exactly one star. Half of the
    yes-or-no questions have the answer yes.
    """
    by_kind = []
    for ask in _ASKERS.values():
        different = {question.text: question for question in ask(scene, config, rng)}
        by_kind.append(_shuffled(list(different.values()), rng))
    chosen: list[Question] = []
    # One question of each kind in random order, then the next of each kind.
    for turn in range(max(len(found) for found in by_kind)):
        chosen += _shuffled([found[turn] for found in by_kind if turn < len(found)], rng)
    return chosen[:count]


def describe(thing: Thing) -> str:
    """Colour and usual name, which no two different objects of a scene share."""
    return f"{thing.colour} {thing.shape}"


def possible_answers(config: ScenesConfig) -> tuple[str, ...]:
    """Every possible answer to questions about such scenes."""
    things = [f"{colour} {shape}" for colour in config.colours for shape in config.shapes]
    return (
        "yes",
        "no",
        *(COUNTS[count] for count in range(5)),
        *config.colours,
        *config.shapes,
        *config.sizes,
        *config.backgrounds,
        *(f"a {thing}" if thing[0] not in "aeiou" else f"an {thing}" for thing in things),
        *(f"{phrase} the {thing}" for phrase in PHRASES.values() for thing in things),
    )


def _shuffled(found: list[Question], rng: np.random.Generator) -> list[Question]:
    return [found[i] for i in rng.permutation(len(found))]


def _kinds_of_things(scene: Scene) -> list[Thing]:
    return [
        t for i, t in enumerate(scene.things) if t.look not in [s.look for s in scene.things[:i]]
    ]


def _colour(scene: Scene, config: ScenesConfig, rng: np.random.Generator) -> Iterator[Question]:
    kinds = _kinds_of_things(scene)
    for thing in kinds:
        if sum(other.shape == thing.shape for other in kinds) == 1:
            verb, noun = _inflect(scene, thing.shape)
            yield Question(f"what colour {verb} the {noun}?", thing.colour, "colour")


def _shape(scene: Scene, config: ScenesConfig, rng: np.random.Generator) -> Iterator[Question]:
    kinds = _kinds_of_things(scene)
    for thing in kinds:
        if sum(other.colour == thing.colour for other in kinds) == 1:
            verb, noun = ("are", "things") if scene.is_group else ("is", "thing")
            text = f"what shape {verb} the {thing.colour} {noun}?"
            yield Question(text, thing.shape, "shape", SHAPES[thing.shape][1:])


def _size(scene: Scene, config: ScenesConfig, rng: np.random.Generator) -> Iterator[Question]:
    for thing in _kinds_of_things(scene):
        verb, noun = _inflect(scene, thing.shape)
        yield Question(f"what size {verb} the {thing.colour} {noun}?", thing.size, "size")


def _background(scene: Scene, config: ScenesConfig, rng: np.random.Generator) -> Iterator[Question]:
    yield Question("what colour is the background?", scene.background, "background")


def _count(scene: Scene, config: ScenesConfig, rng: np.random.Generator) -> Iterator[Question]:
    yield Question("how many things are there?", COUNTS[len(scene.things)], "count")
    for thing in _kinds_of_things(scene):
        for noun, number in (
            (PLURALS[thing.shape], sum(t.shape == thing.shape for t in scene.things)),
            (f"{thing.colour} things", sum(t.colour == thing.colour for t in scene.things)),
        ):
            yield Question(f"how many {noun} are there?", COUNTS[number], "count")
    shape = str(rng.choice(config.shapes))
    if all(thing.shape != shape for thing in scene.things):
        yield Question(f"how many {PLURALS[shape]} are there?", COUNTS[0], "count")


def _yes_no(scene: Scene, config: ScenesConfig, rng: np.random.Generator) -> Iterator[Question]:
    """As many questions with the answer yes as with no."""
    claims: dict[str, list[str]] = {"yes": [], "no": []}
    first = scene.things[0]
    for colour in dict.fromkeys((first.colour, *config.colours)):
        for shape in dict.fromkeys((first.shape, *config.shapes)):
            claim = f"{'an' if colour[0] in 'aeiou' else 'a'} {colour} {shape}"
            claims["yes" if check_facts(claim, scene).correct else "no"].append(claim)
    pairs = [(a, b) for a in scene.things for b in scene.things if a.look != b.look]
    for one, other in pairs:
        for phrase in PHRASES.values():
            claim = f"the {describe(one)} {phrase} the {describe(other)}"
            claims["yes" if check_facts(claim, scene).correct else "no"].append(claim)
    most = min(len(claims["yes"]), len(claims["no"]))
    for answer, found in claims.items():
        for place in rng.permutation(len(found))[:most]:
            claim = found[place]
            opening = "is" if claim.startswith("the ") else "is there"
            yield Question(f"{opening} {claim}?", answer, "yes_no")


def _what(scene: Scene, config: ScenesConfig, rng: np.random.Generator) -> Iterator[Question]:
    if scene.is_group:
        return
    for other in scene.things:
        for kind, phrase in PHRASES.items():
            found = [one for one in scene.things if relation_holds(kind, one, other)]
            if len(found) == 1:
                name = describe(found[0])
                answer = f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
                yield Question(f"what is {phrase} the {describe(other)}?", answer, "what")


def _where(scene: Scene, config: ScenesConfig, rng: np.random.Generator) -> Iterator[Question]:
    if scene.is_group:
        return
    for one in scene.things:
        answers = [
            f"{phrase} the {describe(other)}"
            for other in scene.things
            for kind, phrase in PHRASES.items()
            if relation_holds(kind, one, other)
        ]
        if answers:
            answers = [answers[i] for i in rng.permutation(len(answers))]
            yield Question(
                f"where is the {describe(one)}?", answers[0], "where", tuple(answers[1:])
            )


def _inflect(scene: Scene, shape: str) -> tuple[str, str]:
    """Verb and noun in singular or plural."""
    return ("are", PLURALS[shape]) if scene.is_group else ("is", shape)


_ASKERS: dict[Kind, Asker] = {
    "colour": _colour,
    "shape": _shape,
    "size": _size,
    "background": _background,
    "count": _count,
    "yes_no": _yes_no,
    "what": _what,
    "where": _where,
}
