"""Sentences to claims: what does a text say about the picture?"""

import re
from dataclasses import dataclass, field

from blip.data.scenes.words import BACKGROUNDS, COLOURS, NUMBERS, PATTERNS, PLURALS, SHAPES, SIZES

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?|\$|%")
_SHAPE_OF = {name: shape for shape, names in SHAPES.items() for name in names}
_PLURAL_OF = {PLURALS[name]: shape for name, shape in _SHAPE_OF.items()}
_ADJECTIVES: dict[str, dict[str, str]] = {
    "size": {name: size for size, names in SIZES.items() for name in names},
    "pattern": {name: pattern for pattern, names in PATTERNS.items() for name in names},
    "colour": {colour: colour for colour in COLOURS},
}
_GROUNDS = {*BACKGROUNDS, *COLOURS}
_ARTICLES = ("a", "an", "the")
_MEDIA = ("picture", "image", "photo", "drawing")
_RELATIONS: dict[tuple[str, ...], str] = {
    ("to", "the", "left", "of"): "left",
    ("on", "the", "left", "of"): "left",
    ("left", "of"): "left",
    ("to", "the", "right", "of"): "right",
    ("on", "the", "right", "of"): "right",
    ("right", "of"): "right",
    ("above",): "above",
    ("over",): "above",
    ("below",): "below",
    ("under",): "below",
    ("beneath",): "below",
}
_TRUNCATED_ENDS = ("to", "the", "on", "against", "and", "with", "a", "an", "is", "are", "of")
"""Last words of a text that was truncated between two facts."""


@dataclass(slots=True)
class ThingClaim:
    """The claim that there is such an object, or that there are `count` or, if `many`, some."""

    count: int | None = None
    many: bool = False
    size: str | None = None
    pattern: str | None = None
    colour: str | None = None
    shape: str | None = None

    @property
    def facts(self) -> int:
        """Number of stated attributes."""
        parts = (self.count, self.size, self.pattern, self.colour, self.shape)
        return sum(part is not None for part in parts)


@dataclass(slots=True)
class Claims:
    """All claims of a sentence."""

    things: list[ThingClaim] = field(default_factory=list)
    relations: list[tuple[str, int, int]] = field(default_factory=list)
    """(kind, index of the first claim, index of the second)."""
    background: str | None = None

    @property
    def facts(self) -> int:
        """Number of stated facts."""
        said = sum(thing.facts for thing in self.things) + len(self.relations)
        return said + (self.background is not None)


def parse(text: str) -> Claims | None:
    """The claims of a sentence; None if a word or the word order makes no sense.

    Objects are joined by "and", "with" or a relation; the background comes last. A text may be
    truncated between two facts ("a red star on a"), but not within one ("a red star and a big",
    "a red star above"). Case and punctuation are ignored.
    """
    reader = _Reader(_WORD.findall(text.lower()))
    reader.take_frame()
    claims = Claims()
    more = reader.take_fact
    while not reader.at_end():
        if not more(claims):
            return None
        more = reader.take_further_fact
    return claims


class _Reader:
    """Reads one phrase after another from a list of words."""

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.place = 0

    def next(self, ahead: int = 0) -> str:
        place = self.place + ahead
        return self.words[place] if place < len(self.words) else ""

    def take(self, allowed: tuple[str, ...]) -> bool:
        """Skip the next word if it is one of these."""
        found = self.next() in allowed
        self.place += found
        return found

    def at_end(self) -> bool:
        """Whether only the end of a whole text ("picture") or of a truncated one is left."""
        rest = self.words[self.place :]
        if rest[:1] and rest[0] in _MEDIA:
            rest = rest[1:]
        # More words than "to the" or "on a" are not a truncated end.
        return len(rest) <= 2 and all(word in _TRUNCATED_ENDS for word in rest)

    def take_frame(self) -> None:
        """Skip "there is", "a picture of" and the like."""
        if self.take(("there",)):
            self.take(("is", "are"))
        before = self.place
        self.take(_ARTICLES)
        if not (self.take(_MEDIA) and (self.take(("of",)) or self.next() == "")):
            self.place = before

    def take_ground(self, claims: Claims) -> bool:
        """Read "(on) a pink background" into the claims, if it comes next."""
        before = self.place
        if not self.take(("on", "against")):
            self.take(("with",))
        self.take(_ARTICLES)
        ground = self.next()
        if ground in _GROUNDS and self.next(1) == "background" and claims.background is None:
            self.place += 2
            claims.background = ground
            return True
        self.place = before
        return False

    def take_thing(self, claims: Claims) -> bool:
        """Read "a big striped red star" or "two stars" into the claims, if it comes next."""
        before = self.place
        claim = ThingClaim()
        if not self.take(_ARTICLES) and self.next() in NUMBERS:
            claim.count = NUMBERS[self.next()]
            self.place += 1
        while self._take_adjective(claim):
            pass
        word = self.next()
        claim.shape = _SHAPE_OF.get(word) or _PLURAL_OF.get(word)
        claim.many = word in _PLURAL_OF and claim.count is None
        if claim.shape is None:
            self.place = before
            return False
        self.place += 1
        claims.things.append(claim)
        return True

    def take_fact(self, claims: Claims) -> bool:
        """Read an object or the background."""
        return self.take_ground(claims) or self.take_thing(claims)

    def take_further_fact(self, claims: Claims) -> bool:
        """Read what follows an object: a relation to another, "and" another, the background."""
        self.take(("is", "are"))
        relation = self._take_relation()
        if relation is None:
            return self.take_ground(claims) or (
                self.take(("and", "with")) and self.take_fact(claims)
            )
        number = len(claims.things)
        claims.relations.append((relation, number - 1, number))
        return number > 0 and self.take_thing(claims)

    def _take_adjective(self, claim: ThingClaim) -> bool:
        for name, known in _ADJECTIVES.items():
            word = self.next()
            if word in known and getattr(claim, name) is None:
                setattr(claim, name, known[word])
                self.place += 1
                return True
        return False

    def _take_relation(self) -> str | None:
        """Read "to the left of" and the like; None if it does not come next."""
        for phrase, kind in _RELATIONS.items():
            if tuple(self.words[self.place : self.place + len(phrase)]) == phrase:
                self.place += len(phrase)
                return kind
        return None
