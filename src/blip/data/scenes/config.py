"""What the built-in data set draws and how noisy its web split is; loads no torch."""

from dataclasses import dataclass, field

from blip.data.scenes.words import BACKGROUNDS, COLOURS, PATTERNS, SHAPES, SIZES

NOISE_KINDS = (
    "other_text",
    "wrong_attribute",
    "wrong_count",
    "file_name",
    "price_or_seo",
    "truncated",
)
"""What goes wrong with texts on the web, and here."""


def _subset(name: str, chosen: tuple[str, ...], known: tuple[str, ...]) -> None:
    if not chosen or not set(chosen) <= set(known):
        raise ValueError(f"{name} must be among {', '.join(known)}, got {', '.join(chosen)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ScenesConfig:
    """Drawn scenes of a few coloured shapes, in the spirit of CLEVR but flat."""

    image_size: int = 48
    max_objects: int = 3
    """Most different objects in a scene."""
    max_count: int = 4
    """Most objects that are all alike ("three red stars"); 1 draws no such groups."""
    shapes: tuple[str, ...] = tuple(SHAPES)
    colours: tuple[str, ...] = tuple(COLOURS)
    sizes: tuple[str, ...] = tuple(SIZES)
    patterns: tuple[str, ...] = tuple(PATTERNS)
    backgrounds: tuple[str, ...] = tuple(BACKGROUNDS)
    human: int = 1000
    """Images with five true captions."""
    web: int = 3000
    """Images with one text from the web."""
    val: int = 100
    test: int = 300
    captions: int = 5
    """Captions of each human, val and test image."""
    noise: float = 0.4
    """Share of web texts that are spoilt."""
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
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        if self.image_size < 16:
            raise ValueError(f"image_size must be at least 16, got {self.image_size}")
        if not 1 <= self.max_objects <= 3:
            raise ValueError(f"max_objects must lie in 1..3, got {self.max_objects}")
        if not 1 <= self.max_count <= 4:
            raise ValueError(f"max_count must lie in 1..4, got {self.max_count}")
        _subset("shapes", self.shapes, tuple(SHAPES))
        _subset("colours", self.colours, tuple(COLOURS))
        _subset("sizes", self.sizes, tuple(SIZES))
        _subset("patterns", self.patterns, tuple(PATTERNS))
        _subset("backgrounds", self.backgrounds, tuple(BACKGROUNDS))
        for name in ("human", "web", "val", "test", "captions"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not 0.0 <= self.noise <= 1.0:
            raise ValueError(f"noise must lie in [0, 1], got {self.noise}")
        _subset("noise_kinds", tuple(self.noise_kinds), NOISE_KINDS)
        if sum(self.noise_kinds.values()) <= 0 or min(self.noise_kinds.values()) < 0:
            raise ValueError("noise_kinds must have weights of which one is positive")
