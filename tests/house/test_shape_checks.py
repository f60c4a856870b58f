"""Shapes in signatures are checked, however often a function was called before."""

import pytest
import torch
from jaxtyping import TypeCheckError

from blip.nn.attention import join_heads, split_heads
from tests.support.shape_checks import unchecked_shapes


def test_every_new_shape_is_checked() -> None:
    states = torch.zeros(1, 2, 4)
    for _ in range(3):
        split_heads(states, 2)
        with pytest.raises(TypeCheckError):
            split_heads(states[0], 2)
        with pytest.raises(TypeCheckError):
            split_heads(states.long(), 2)


def test_shapes_are_checked_again_after_a_part_without_checks() -> None:
    states = torch.zeros(1, 2, 4)
    with unchecked_shapes():
        split_heads(states.long(), 2)
    with pytest.raises(TypeCheckError):
        split_heads(states.long(), 2)


def test_every_type_is_checked() -> None:
    join_heads(torch.zeros(1, 2, 3, 4))
    for wrong in ("states", None, [torch.zeros(1, 2, 3, 4)]):
        with pytest.raises(TypeCheckError):
            join_heads(wrong)  # pyright: ignore[reportArgumentType]
