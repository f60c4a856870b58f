"""A range holds numbers of its kind alone, and its message says the field, the value, the range."""

import pickle
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blip.config.ranges import (
    BATCH_SIZE,
    COUNT,
    DEVICE,
    NOT_EMPTY,
    SEED,
    SHARE,
    Range,
    RangeError,
    check_fields,
    rules_of,
)
from blip.errors import UsageError

NAN, INF = float("nan"), float("inf")


@dataclass(frozen=True)
class Example:
    rate: float | None = 0.5
    steps: int = 1
    betas: tuple[float, ...] = ()
    out: str = "out"


@pytest.mark.parametrize("value", [NAN, INF, -INF, True, "1", None, 1j])
def test_no_range_holds_nan_or_infinity(value):
    assert not Range().holds(value)
    assert not Range(whole=True).holds(value)


@given(st.floats(allow_nan=True) | st.integers(), st.floats(-10, 10), st.floats(-10, 10))
def test_bounds_are_the_comparisons_that_they_are_named_after(value, low, high):
    finite = abs(value) < INF
    assert Range(least=low, most=high).holds(value) == (finite and low <= value <= high)
    assert Range(above=low, below=high).holds(value) == (finite and low < value < high)


def test_whole_numbers_of_numpy_are_whole_numbers():
    assert COUNT.holds(np.int64(3))
    assert not COUNT.holds(3.0)
    assert not SEED.holds(2**63)


@pytest.mark.parametrize(
    ("allowed", "text"),
    [
        (Range(), "a finite number"),
        (Range(above=0), "a finite number above 0"),
        (SHARE, "a finite number from 0 to 1"),
        (Range(least=0, below=1), "a finite number of at least 0 and below 1"),
        (Range(whole=True, least=2), "a whole number of at least 2"),
    ],
)
def test_a_range_says_what_is_allowed(allowed, text):
    assert str(allowed) == text


def test_the_message_names_field_value_and_range():
    with pytest.raises(RangeError) as caught:
        Range(above=0).check(Example(rate=NAN), "rate")
    assert str(caught.value) == "`rate` is nan; allowed: a finite number above 0"
    assert str(caught.value.within("train")).startswith("`train.rate` is nan;")
    with pytest.raises(RangeError, match=r"^`betas\.1` is 2.0; allowed: a finite number from 0"):
        SHARE.check(Example(betas=(0.5, 2.0)), "betas")


def test_the_error_passes_from_process_to_process():
    error = pickle.loads(pickle.dumps(RangeError("beams", 0, "more")))
    assert isinstance(error, UsageError)
    assert str(error) == "`beams` is 0; allowed: more"


def test_a_number_of_many_digits_is_abbreviated():
    with pytest.raises(RangeError) as caught:
        COUNT.check(Example(steps=10**6000), "steps")
    assert len(str(caught.value)) < 150


def test_none_passes_every_range():
    SHARE.check(Example(rate=None), "rate")
    with pytest.raises(RangeError):
        SHARE.check(Example(rate=1.5), "rate")


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_text_is_refused(text):
    with pytest.raises(RangeError, match=r"`out` is '.*'; allowed: a text that is not empty"):
        NOT_EMPTY.check(Example(out=text), "out")


@dataclass(frozen=True)
class Annotations:
    steps: Annotated[int, COUNT] = 1
    size: Annotated[int | Literal["auto"] | None, BATCH_SIZE] = "auto"
    shares: Annotated[tuple[float, ...], SHARE] = ()
    device: Annotated[str, DEVICE] = "cuda:1"

    def __post_init__(self) -> None:
        check_fields(self)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"steps": 0}, "`steps` is 0; allowed: a whole number from 1 to"),
        ({"size": "many"}, "`size` is 'many'; allowed: a whole number from 1 to"),
        ({"shares": (0.5, NAN)}, "`shares.1` is nan; allowed: a finite number from 0 to 1"),
        ({"device": "gpu"}, "`device` is 'gpu'; allowed: auto, cpu, cuda or cuda:N"),
    ],
)
def test_a_rule_of_an_annotation_is_checked(fields, message):
    assert Annotations(size=None) != Annotations()
    with pytest.raises(RangeError) as caught:
        Annotations(**fields)
    assert str(caught.value).startswith(message)


def test_a_rule_names_the_words_that_may_stand_in_its_place():
    assert str(rules_of(Annotations)[1]).startswith("auto, or a whole number from 1 to")


def test_a_word_that_is_none_of_the_choices_is_refused():
    @dataclass
    class Chosen:
        kind: Literal["greedy", "beam"]

    check_fields(Chosen("beam"))
    with pytest.raises(RangeError, match=r"^`kind` is 'sample'; allowed: greedy, beam$"):
        check_fields(Chosen("sample"))
