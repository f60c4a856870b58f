"""Grouping by length: every row once, with all its tokens, and the result as without."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from blip.tasks.grouping import in_length_groups, length_groups


@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=200))
def test_every_row_is_in_one_group_that_is_long_enough(lengths: list[int]) -> None:
    visible = torch.arange(12) < torch.tensor(lengths)[:, None]
    groups = length_groups(visible)
    assert sorted(torch.cat([index for index, _ in groups]).tolist()) == list(range(len(lengths)))
    for index, length in groups:
        assert max(lengths[row] for row in index.tolist()) == length
    values = torch.randn(len(lengths), 12).masked_fill(~visible, 0.0)
    summed = in_length_groups(visible, lambda index, length: values[index, :length].sum(dim=1))
    torch.testing.assert_close(summed, values.sum(dim=1))


def test_long_texts_do_not_make_short_ones_long() -> None:
    lengths = torch.tensor([3] * 96 + [20] * 32)
    visible = torch.arange(20) < lengths[torch.randperm(128)][:, None]
    assert [length for _, length in length_groups(visible)] == [3, 3, 3, 20]
