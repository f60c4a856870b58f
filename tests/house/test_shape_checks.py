"""Shapes in signatures are checked in every test, at its first calls."""

import pytest
import torch
from jaxtyping import TypeCheckError

from blip.nn.attention import join_heads, split_heads
from tests.support.shape_checks import PER_TEST


def test_a_wrong_shape_is_refused_until_a_test_has_had_its_checks() -> None:
    states = torch.zeros(1, 2, 4)
    with pytest.raises(TypeCheckError):
        split_heads(states[0], 2)
    for _ in range(PER_TEST):
        split_heads(states, 2)
    with pytest.raises(ValueError, match="unpack"):
        split_heads(states[0], 2)


def test_the_next_test_is_checked_again() -> None:
    with pytest.raises(TypeCheckError):
        join_heads(torch.zeros(2, 4, dtype=torch.int64))
