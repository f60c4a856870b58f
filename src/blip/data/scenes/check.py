"""Checks texts against scenes: is every stated fact true of the picture?"""

from collections.abc import Iterator
from dataclasses import dataclass

from blip.data.scenes.claims import Claims, ThingClaim, parse
from blip.data.scenes.scene import Scene, Thing, relation_holds


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a text is true of a scene."""

    understood: bool
    stated: int
    wrong: int

    @property
    def correct(self) -> bool:
        """Whether the text states a fact, and all of them are true."""
        return self.understood and self.stated > 0 and self.wrong == 0


def check_facts(text: str, scene: Scene) -> Verdict:
    """Compare the facts that a text states with the scene.

    `stated` counts attributes, counts, relations and the background. `wrong` counts the objects
    that are not there as described (or not that many) and a wrong background. If each object is
    there, but not all at once (one is named twice) or not in the stated relations, it is 1. A text
    that makes no sense (see `claims.parse`) is not understood.
    """
    claims = parse(text)
    if claims is None:
        return Verdict(understood=False, stated=0, wrong=0)
    return Verdict(understood=True, stated=claims.facts, wrong=_wrong(claims, scene))


def _wrong(claims: Claims, scene: Scene) -> int:
    wrong = int(claims.background not in (None, scene.background))
    wrong += sum(not _possible_meanings(claim, scene) for claim in claims.things)
    if wrong == 0 and not any(_assignments(claims, scene, [])):
        wrong = 1
    return wrong


def _possible_meanings(claim: ThingClaim, scene: Scene) -> list[tuple[int, ...]]:
    """The sets of objects (their indices) that a claim may mean; empty if it is false."""
    fitting = tuple(i for i, thing in enumerate(scene.things) if _fits(claim, thing))
    if claim.count is None and not claim.many:
        return [(number,) for number in fitting]
    counted = len(fitting) > 1 if claim.many else len(fitting) == claim.count
    return [fitting] if counted else []


def _fits(claim: ThingClaim, thing: Thing) -> bool:
    stated = (claim.shape, claim.colour, claim.size, claim.pattern)
    return all(said in (None, seen) for said, seen in zip(stated, thing.look, strict=True))


def _assignments(claims: Claims, scene: Scene, chosen: list[tuple[int, ...]]) -> Iterator[bool]:
    """Yield True for each way to assign different objects to all claims so that relations hold."""
    number = len(chosen)
    if number == len(claims.things):
        yield True
        return
    taken = {thing for things in chosen for thing in things}
    for meant in _possible_meanings(claims.things[number], scene):
        holds = all(
            relation_holds(kind, scene.things[one], scene.things[other])
            for kind, first, second in claims.relations
            if second == number
            for one in chosen[first]
            for other in meant
        )
        if holds and taken.isdisjoint(meant):
            yield from _assignments(claims, scene, [*chosen, meant])
