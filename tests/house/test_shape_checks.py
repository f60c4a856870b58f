"""Shapes in signatures are checked, however often a function was called before."""

import pytest
import torch
from jaxtyping import Float, TypeCheckError
from torch import Tensor

from blip.nn.attention import join_heads, split_heads
from tests.support.shape_checks import check_new_shapes, unchecked_shapes


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


def test_every_new_result_is_checked() -> None:
    results = [torch.zeros(2), torch.zeros(2), torch.zeros(3), torch.zeros(2)]
    calls = []

    @check_new_shapes(typechecker=None)
    def pop(like: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
        calls.append(like)
        return results.pop(0)

    like = torch.zeros(2)
    assert pop(like).shape == pop(like).shape == (2,)
    with pytest.raises(TypeCheckError):
        pop(like)
    assert pop(like).shape == (2,)
    # A check of a result repeats no work.
    assert len(calls) == 4
