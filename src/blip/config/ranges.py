"""Which numbers an option or a field of a configuration may hold; one check and one message."""

import math
import numbers
import re
from dataclasses import dataclass
from typing import Any

from blip.errors import ArgumentError, plain
from blip.files import is_utf8

DEVICE = re.compile(r"auto|cpu|cuda(:\d{1,3})?", re.ASCII)
DEVICES = "auto, cpu, cuda or cuda:N"


class RangeError(ArgumentError):
    """A value lies outside of what its field allows; says which field, the value, and the range."""

    def __init__(self, name: str, value: object, allowed: str) -> None:
        super().__init__(f"`{plain(name)}` is {_short(value)}; allowed: {allowed}")
        self.name, self.value, self.allowed = name, value, allowed

    def __reduce__(self) -> tuple[Any, ...]:
        """Made anew of its parts where another process receives it."""
        return RangeError, (self.name, self.value, self.allowed)

    def within(self, part: str) -> "RangeError":
        """The same, of a field of a part of a larger configuration."""
        return RangeError(f"{part}.{self.name}" if part else self.name, self.value, self.allowed)


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """Whole numbers, or else finite ones, between two bounds."""

    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None
    whole: bool = False

    def holds(self, value: Any) -> bool:
        """Whether `value` is a number of this kind within the bounds; NaN and infinity are not."""
        kind = numbers.Integral if self.whole else numbers.Real
        if isinstance(value, bool) or not isinstance(value, kind):
            return False
        given: Any = value
        return (self.whole or math.isfinite(given)) and (
            (self.least is None or given >= self.least)
            and (self.above is None or given > self.above)
            and (self.most is None or given <= self.most)
            and (self.below is None or given < self.below)
        )

    def __str__(self) -> str:
        """Such as "a whole number of at least 1"."""
        kind = "a whole number" if self.whole else "a finite number"
        if self.least is not None and self.most is not None:
            return f"{kind} from {self.least} to {self.most}"
        bounds = [
            f"{word} {bound}"
            for word, bound in (
                ("of at least", self.least),
                ("above", self.above),
                ("of at most", self.most),
                ("below", self.below),
            )
            if bound is not None
        ]
        return f"{kind} {' and '.join(bounds)}".strip()

    def check(self, config: object, *names: str) -> None:
        """Raise RangeError for the first field whose value, or an element of it, does not fit.

        None passes, where a field allows it.
        """
        for name in names:
            value: Any = getattr(config, name)
            elements = value if isinstance(value, tuple) else (value,)
            for place, element in enumerate(elements):
                if element is not None and not self.holds(element):
                    at = f"{name}.{place}" if isinstance(value, tuple) else name
                    raise RangeError(at, element, str(self))


COUNT = Range(whole=True, least=1, most=2**31 - 1)
COUNT_OR_NONE = Range(whole=True, least=0, most=2**31 - 1)
"""0 turns it off."""
BATCH_SIZE = Range(whole=True, least=1, most=2**20)
SEED = Range(whole=True, least=0, most=2**63 - 1)
PROCESSES = Range(whole=True, least=0, most=4096)
SIDE = Range(whole=True, least=1, most=2**14)
"""Of a picture, in pixels."""
TOKENS = Range(whole=True, least=1, most=2**16)
SHARE = Range(least=0, most=1)
SHARE_BELOW_ONE = Range(least=0, below=1)
POSITIVE = Range(above=0)
NOT_NEGATIVE = Range(least=0)


def check_text(config: object, *names: str) -> None:
    """Raise RangeError for a field that must not be an empty text."""
    for name in names:
        value: Any = getattr(config, name)
        if value is not None and not value.strip():
            raise RangeError(name, repr(value), "a text that is not empty")


def check_plain(config: object, *names: str) -> None:
    """Raise RangeError for a text with lone surrogates: no tokenizer and no file takes it."""
    for name in names:
        value: str = getattr(config, name)
        if not is_utf8(value):
            raise RangeError(name, ascii(value), "text in UTF-8")


def check_device(config: object, *names: str) -> None:
    """Raise RangeError for what does not name a device; torch finds out whether it is there."""
    for name in names:
        value: Any = getattr(config, name)
        if value is not None and not DEVICE.fullmatch(value):
            raise RangeError(name, repr(value), DEVICES)


def _short(value: object) -> str:
    try:
        text = plain(str(value))
    except ValueError:  # an integer of more digits than Python writes
        text = "a number of thousands of digits"
    return text if len(text) <= 80 else f"{text[:77]}..."
