"""Rules that drop texts; each is off by default. Loads no torch."""

import re
from dataclasses import dataclass
from typing import Annotated

from blip.config.ranges import COUNT, Range, RangeError, check_fields

MAX_BITS = 8
"""Largest number of bits in which the hashes of near-duplicates may differ."""
_CODES = """
af am an ar as az ba be bg bn br bs ca cs cy da de dz el en eo es et eu fa fi fo fr fy ga gd gl
gu ha he hi hr ht hu hy id ig is it ja jv ka kk km kn ko ku ky la lb lg ln lo lt lv mg mk ml mn
mr ms mt my ne nl nn no oc om or pa pl ps pt qu ro ru rw sa se si sk sl sn so sq sr st sv sw ta
te tg th tk tl tr tt ug uk ur uz vi vo wa xh yo zh zu
"""
LANGUAGES = frozenset(_CODES.split())
"""What `py3langid` detects, of the languages that have two letters in ISO 639-1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FilterRules:
    """Rules for a text or its image besides the threshold; each looks at one image alone."""

    keep: str = "all"
    """all, or best-N: keep the N texts of an image with the highest ITM scores that pass all other
    rules."""
    min_itc: Annotated[float | None, Range(least=-1, most=1)] = None
    """Minimum cosine of the contrastive (ITC) features."""
    min_words: Annotated[int | None, COUNT] = None
    """Minimum number of words."""
    max_words: int | None = None
    """Maximum number of words."""
    languages: tuple[str, ...] = ()
    """Allowed languages, such as en ko (two letters of ISO 639-1); without it, all. They need the
    extra `language`."""
    min_side: Annotated[int | None, COUNT] = None
    """Minimum length of an image's shorter side, in pixels."""
    max_aspect: Annotated[float | None, Range(least=1)] = None
    """Maximum ratio of an image's longer side to its shorter side."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        if self.keep != "all" and not re.fullmatch(r"best-[1-9]\d{0,3}", self.keep):
            raise RangeError("keep", self.keep, "all, or best-N such as best-1")
        check_fields(self)
        Range(whole=True, least=self.min_words or 1, most=COUNT.most).check(self, "max_words")
        for language in self.languages:
            if language not in LANGUAGES:
                start = language[:2].lower()
                near = f" (did you mean {start}?)" if start in LANGUAGES else ""
                allowed = f"two letters of ISO 639-1 that py3langid knows, such as en or ko{near}"
                raise RangeError("languages", language, allowed)

    @property
    def best(self) -> int | None:
        """How many texts an image may keep; None means all."""
        return None if self.keep == "all" else int(self.keep.partition("-")[2])


@dataclass(frozen=True, kw_only=True, slots=True)
class JobRules:
    """Rules that compare all texts of a job; they are applied to the finished ledgers."""

    max_repeats: Annotated[int | None, COUNT] = None
    """How often a text may occur in the ledger, kept or dropped. One that occurs more often is
    boilerplate: all its rows are dropped."""
    unique_images: Annotated[int | None, Range(whole=True, least=0, most=MAX_BITS)] = None
    """Drop an image whose hash differs in at most this many bits from that of an earlier image that
    is kept; 0 drops those with the same hash."""
    unique_texts: bool = False
    """Drop a text that was kept before, for this or another image."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_fields(self)

    @property
    def any(self) -> bool:
        """Whether a rule is on."""
        return self != JobRules()
