"""Sentences back to claims: is every stated fact true of the scene?"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from blip.data.scenes.scene import Scene, Thing, relation_holds
from blip.data.scenes.words import (
    BACKGROUNDS,
    COLOURS,
    NUMBERS,
    PATTERNS,
    PLURALS,
    RELATIONS,
    SHAPES,
    SIZES,
)

_SHAPE_OF = {name: shape for shape, names in SHAPES.items() for name in names}
_SHAPE_OF |= {PLURALS[name]: shape for name, shape in _SHAPE_OF.items()}
_SIZE_OF = {name: size for size, names in SIZES.items() for name in names}
_PATTERN_OF = {name: pattern for pattern, names in PATTERNS.items() for name in names}
_RELATION_OF = {
    phrase.split()[-2] if " of" in phrase else phrase: kind
    for kind, phrases in RELATIONS.items()
    for phrase in phrases
}
_FRAMES = "a an the there is are picture image photo drawing stock of with we see this shows"
_FILLING = frozenset([*_FRAMES.split(), "on", "against", "background", "to", "and", "in"])
_WORD = re.compile(r"[a-z0-9']+")


@dataclass(slots=True)
class ThingClaim:
    """There is such an object, or there are exactly `count` of them."""

    count: int | None = None
    size: str | None = None
    pattern: str | None = None
    colour: str | None = None
    shape: str | None = None

    def fits(self, thing: Thing) -> bool:
        """Whether an object is as claimed."""
        return all(
            wanted is None or wanted == found
            for wanted, found in (
                (self.size, thing.size),
                (self.pattern, thing.pattern),
                (self.colour, thing.colour),
                (self.shape, thing.shape),
            )
        )

    @property
    def facts(self) -> int:
        """How many attributes are stated."""
        parts = (self.count, self.size, self.pattern, self.colour, self.shape)
        return sum(part is not None for part in parts)


@dataclass(slots=True)
class Claims:
    """What a sentence says."""

    things: list[ThingClaim]
    relations: list[tuple[str, int, int]]
    """(kind, number of the one, number of the other claim)."""
    background: str | None

    @property
    def facts(self) -> int:
        """How many facts are stated in all."""
        said = sum(thing.facts for thing in self.things) + len(self.relations)
        return said + (self.background is not None)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a sentence stands to a scene."""

    understood: bool
    stated: int
    wrong: int

    @property
    def correct(self) -> bool:
        """Every stated fact is true, and there is one."""
        return self.understood and self.stated > 0 and self.wrong == 0


def judge(text: str, scene: Scene) -> Verdict:
    """Compare what a text states with what is in the scene."""
    claims = parse(text)
    if claims is None:
        return Verdict(understood=False, stated=0, wrong=0)
    wrong = _wrong(claims, scene)
    return Verdict(understood=True, stated=claims.facts, wrong=wrong)


def parse(text: str) -> Claims | None:
    """The claims of a sentence; None where a word or the order of words makes no sense.

    An object that is begun and not named ("a big red") makes no sense either: a cut sentence is
    understood only as far as it was finished, that is not at all.
    """
    words = _WORD.findall(text.lower())
    claims = Claims([], [], None)
    open_claim, pending = ThingClaim(), None
    for place, word in enumerate(words):
        if word in _SHAPE_OF:
            open_claim.shape = _SHAPE_OF[word]
            claims.things.append(open_claim)
            if pending is not None:
                number = len(claims.things) - 1
                claims.relations.append((pending, number - 1, number))
            open_claim, pending = ThingClaim(), None
        elif word in _RELATION_OF:
            if pending is not None or not claims.things or open_claim.facts:
                return None
            pending = _RELATION_OF[word]
        elif word in BACKGROUNDS or (
            word in COLOURS and words[place + 1 : place + 2] == ["background"]
        ):
            if claims.background not in (None, word) or open_claim.facts:
                return None
            claims.background = word
        elif not (_describe(open_claim, word) or word in _FILLING):
            return None
    if open_claim.facts or pending is not None:
        return None
    return claims


def _describe(claim: ThingClaim, word: str) -> bool:
    """Take an adjective or number into a claim; a second one of its kind is not taken."""
    for name, known in (
        ("count", NUMBERS),
        ("size", _SIZE_OF),
        ("pattern", _PATTERN_OF),
        ("colour", {colour: colour for colour in COLOURS}),
    ):
        if word in known and getattr(claim, name) is None:
            setattr(claim, name, known[word])
            return True
    return False


def _wrong(claims: Claims, scene: Scene) -> int:
    wrong = int(claims.background not in (None, scene.background))
    for claim in claims.things:
        number = sum(claim.fits(thing) for thing in scene.things)
        if number == 0 or (claim.count is not None and number != claim.count):
            wrong += 1
    if wrong == 0 and not any(_assignments(claims, scene, [])):
        wrong = 1
    return wrong


def _assignments(claims: Claims, scene: Scene, chosen: list[int]) -> Iterator[bool]:
    """Yield True for each way to give every claim an object of its own so that relations hold."""
    number = len(chosen)
    if number == len(claims.things):
        yield True
        return
    claim = claims.things[number]
    for place, thing in enumerate(scene.things):
        if place in chosen or not claim.fits(thing):
            continue
        holds = all(
            relation_holds(kind, scene.things[chosen[one]], thing)
            for kind, one, other in claims.relations
            if other == number
        )
        if holds:
            yield from _assignments(claims, scene, [*chosen, place])
