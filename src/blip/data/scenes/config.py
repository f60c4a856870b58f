"""Settings of the built-in data set: what it draws, how noisy its web split is; loads no torch."""

from dataclasses import dataclass, field
from typing import Annotated

from blip.config.ranges import (
    COUNT,
    NOT_NEGATIVE,
    SEED,
    SHARE,
    SIDE,
    Range,
    RangeError,
    check_fields,
)
from blip.config.strict import added
from blip.data.scenes.words import BACKGROUNDS, COLOURS, PATTERNS, SHAPES, SIZES

NOISE_KINDS = (
    "other_text",
    "wrong_attribute",
    "wrong_count",
    "file_name",
    "price_or_seo",
    "truncated",
)
"""Kinds of noise in the web split, as texts on the web have them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScenesConfig:
    """Scenes of a few coloured shapes, like CLEVR in two dimensions."""

    image_size: Annotated[int, Range(whole=True, least=16, most=SIDE.most)] = 48
    min_objects: int = 1
    """Minimum number of different objects in a scene without a group."""
    max_objects: Annotated[int, Range(whole=True, least=1, most=3)] = 3
    """Maximum number of different objects in a scene."""
    object_scale: float = 1.0
    """Enlarges all objects; at most 1.35 with `max_objects` 2, else at most 1."""
    groups: Annotated[float, SHARE] = 0.25
    """Share of scenes that show a group of equal objects."""
    max_count: Annotated[int, Range(whole=True, least=1, most=4)] = 4
    """Maximum size of a group ("three red stars"); 1 draws no groups."""
    shapes: tuple[str, ...] = tuple(SHAPES)
    colours: tuple[str, ...] = tuple(COLOURS)
    sizes: tuple[str, ...] = tuple(SIZES)
    patterns: tuple[str, ...] = tuple(PATTERNS)
    backgrounds: tuple[str, ...] = tuple(BACKGROUNDS)
    human: Annotated[int, COUNT] = 1000
    """Number of images with `captions` true captions each."""
    web: Annotated[int, COUNT] = 3000
    """Number of images with one web text each."""
    val: Annotated[int, COUNT] = 100
    test: Annotated[int, COUNT] = 300
    captions: Annotated[int, Range(whole=True, least=1, most=1000)] = 5
    """Captions per human, val and test image."""
    questions: Annotated[int, Range(whole=True, least=0, most=1000)] = field(
        default=0, metadata=added()
    )
    """Most questions about each human, val and test image, for VQA; 0 for none."""
    statements: Annotated[int, Range(whole=True, least=0, most=1000)] = field(
        default=0, metadata=added()
    )
    """Statements about each human, val and test image and another one on its right, for NLVR2."""
    dialogues: Annotated[int, Range(whole=True, least=0, most=1000)] = field(
        default=0, metadata=added()
    )
    """Most rounds of a dialogue about each human, val and test image, for VisDial; 0 for none."""
    clips: Annotated[int, Range(whole=True, least=0, most=COUNT.most)] = field(
        default=0, metadata=added()
    )
    """Video clips with captions and questions, in `clips/`; they need the extra `video`."""
    noise: Annotated[float, SHARE] = 0.4
    """Share of noisy web texts."""
    noise_kinds: dict[str, float] = field(
        default_factory=lambda: {
            "other_text": 0.35,
            "wrong_attribute": 0.15,
            "wrong_count": 0.05,
            "file_name": 0.15,
            "price_or_seo": 0.2,
            "truncated": 0.1,
        }
    )
    """Kinds of noise and their relative weights."""
    seed: Annotated[int, SEED] = 0

    def __post_init__(self) -> None:
        """Refuse settings that cannot be drawn."""
        _subset("shapes", self.shapes, tuple(SHAPES))
        _subset("colours", self.colours, tuple(COLOURS))
        _subset("sizes", self.sizes, tuple(SIZES))
        _subset("patterns", self.patterns, tuple(PATTERNS))
        _subset("backgrounds", self.backgrounds, tuple(BACKGROUNDS))
        _subset("noise_kinds", tuple(self.noise_kinds), NOISE_KINDS)
        check_fields(self)
        kinds = len(self.shapes) * len(self.colours)
        fewest = min(self.max_objects, kinds)
        Range(whole=True, least=1, most=fewest).check(self, "min_objects")
        largest = 1.0 if self.max_objects > 2 else 1.35
        Range(least=0.5, most=largest).check(self, "object_scale")
        for kind, weight in self.noise_kinds.items():
            if not NOT_NEGATIVE.holds(weight):
                raise RangeError(f"noise_kinds.{kind}", weight, str(NOT_NEGATIVE))
        if not sum(self.noise_kinds.values()) > 0:
            raise RangeError(
                "noise_kinds", self.noise_kinds, "a weight above 0 for one kind or more"
            )


def _subset(name: str, chosen: tuple[str, ...], known: tuple[str, ...]) -> None:
    if not chosen or not set(chosen) <= set(known) or len(set(chosen)) < len(chosen):
        allowed = f"one or more different ones of {', '.join(known)}"
        raise RangeError(name, ", ".join(chosen) or "empty", allowed)
