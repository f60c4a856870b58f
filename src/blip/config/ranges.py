"""Which numbers an option or a field of a configuration may hold; one check and one message."""

import functools
import math
import numbers
import re
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from blip.errors import ArgumentError, plain
from blip.files import is_utf8

Precision = Literal["float32", "bfloat16"]
"""Number format in which a model is trained."""
InferencePrecision = Literal["float32", "bfloat16", "int8"]
"""Number format in which a model computes that is not trained: int8 on CPUs alone."""
PrecisionChoice = Literal["auto", "float32", "bfloat16", "int8"]
"""As a person asks for it: auto is bfloat16 on a GPU that has it, else float32."""


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
        _check(self, config, names)


@dataclass(frozen=True, kw_only=True, slots=True)
class TextRule:
    """Texts of one kind."""

    allowed: str
    holds: Callable[[Any], bool]

    def __str__(self) -> str:
        """Such as "a text that is not empty"."""
        return self.allowed

    def check(self, config: object, *names: str) -> None:
        """The same as `Range.check`, for fields that hold texts."""
        _check(self, config, names)


@dataclass(frozen=True, slots=True)
class FieldRule:
    """What the values of a field must obey, and the words that it may hold instead."""

    name: str
    rule: Range | TextRule
    words: tuple[str, ...]

    def __str__(self) -> str:
        """Such as "auto, or a whole number of at least 1"."""
        return ", or ".join([*self.words, str(self.rule)])


@functools.cache
def rules_of(cls: Any) -> tuple[FieldRule, ...]:
    """The rules of the fields that are annotated with one, as in `Annotated[int, COUNT]`."""
    found = list[FieldRule]()
    for name, hint in typing.get_type_hints(cls, include_extras=True).items():
        if typing.get_origin(hint) is not typing.Annotated:
            continue
        members = typing.get_args(hint.__origin__)
        literals = [member for member in members if typing.get_origin(member) is typing.Literal]
        words = tuple(word for literal in literals for word in typing.get_args(literal))
        rules = [note for note in hint.__metadata__ if isinstance(note, Range | TextRule)]
        found += [FieldRule(name, rule, words) for rule in rules]
    return tuple(found)


@functools.cache
def _choices_of(cls: Any) -> dict[str, tuple[Any, ...]]:
    """The values that fields annotated with a `Literal` allow."""
    hints = typing.get_type_hints(cls)
    return {
        name: typing.get_args(hint)
        for name, hint in hints.items()
        if typing.get_origin(hint) is Literal
    }


def check_fields(config: object) -> None:
    """Raise RangeError for the first field whose value breaks the rule of its annotation."""
    for name, allowed in _choices_of(type(config)).items():
        value = getattr(config, name)
        if value not in allowed:
            raise RangeError(name, repr(value), ", ".join(map(str, allowed)))
    for field in rules_of(type(config)):
        if getattr(config, field.name) not in field.words:
            _check(field.rule, config, (field.name,))


def _check(rule: Range | TextRule, config: object, names: Iterable[str]) -> None:
    for name in names:
        value: Any = getattr(config, name)
        elements = value if isinstance(value, tuple) else (value,)
        for place, element in enumerate(elements):
            if element is None or rule.holds(element):
                continue
            at = f"{name}.{place}" if isinstance(value, tuple) else name
            shown = repr(element) if isinstance(element, str) else element
            raise RangeError(at, shown, str(rule))


COUNT = Range(whole=True, least=1, most=2**31 - 1)
COUNT_OR_NONE = Range(whole=True, least=0, most=2**31 - 1)
"""0 turns it off."""
BATCH_SIZE = Range(whole=True, least=1, most=2**20)
SEED = Range(whole=True, least=0, most=2**63 - 1)
PROCESSES = Range(whole=True, least=0, most=4096)
FRAMES = Range(whole=True, least=1, most=1024)
"""Frames of a video that a model reads."""
SIDE = Range(whole=True, least=1, most=2**14)
"""Of a picture, in pixels."""
TOKENS = Range(whole=True, least=1, most=2**16)
SHARE = Range(least=0, most=1)
SHARE_ABOVE_ZERO = Range(above=0, most=1)
SHARE_BELOW_ONE = Range(least=0, below=1)
POSITIVE = Range(above=0)
NOT_NEGATIVE = Range(least=0)


NOT_EMPTY = TextRule(allowed="a text that is not empty", holds=lambda text: bool(text.strip()))
UTF8 = TextRule(allowed="text in UTF-8", holds=is_utf8)
"""Lone surrogates are refused: no tokenizer and no file takes them."""
DEVICE = TextRule(
    allowed="auto, cpu, cuda or cuda:N",
    holds=lambda text: bool(re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", text, re.ASCII)),
)
"""Whether it is there, torch finds out later."""
LINE = TextRule(
    allowed="text in UTF-8 without a line break",
    holds=lambda text: UTF8.holds(text) and len(f"{text}.".splitlines()) == 1,
)
PLACE = TextRule(
    allowed="the path of a file or a folder",
    holds=lambda text: bool(text.strip()) and "\0" not in text,
)
"""A place on this disk, or a checkpoint on the hub."""


def _short(value: object) -> str:
    try:
        text = plain(str(value))
    except ValueError:  # an integer of more digits than Python writes
        text = "a number of thousands of digits"
    return text if len(text) <= 80 else f"{text[:77]}..."
