"""The queue holds the last pairs, for batches of any size."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from blip.objectives.queue import FeatureQueue


@given(size=st.integers(0, 9), batches=st.lists(st.integers(1, 12), max_size=6))
def test_it_holds_the_last_pairs(size: int, batches: list[int]) -> None:
    queue = FeatureQueue(size, 2)
    pushed: list[int] = []
    for batch in batches:
        ids = torch.arange(len(pushed), len(pushed) + batch)
        features = ids[:, None].float().expand(-1, 2)
        queue.push(features, -features, ids)
        pushed += ids.tolist()
    contents = queue.contents()
    assert sorted(contents.image_ids.tolist()) == pushed[len(pushed) - min(size, len(pushed)) :]
    assert torch.equal(contents.images[:, 0], contents.image_ids.float())
    assert torch.equal(contents.texts[:, 1], -contents.image_ids.float())


def test_state_round_trip_and_wrong_size() -> None:
    queue, other = FeatureQueue(4, 2), FeatureQueue(4, 2)
    queue.push(torch.randn(3, 2), torch.randn(3, 2), torch.arange(3))
    other.load_state_dict(queue.state_dict())
    assert torch.equal(other.contents().images, queue.contents().images)
    assert other.next == 3
    with pytest.raises(ValueError, match=r"\(5, 2\), the checkpoint \(4, 2\)"):
        FeatureQueue(5, 2).load_state_dict(queue.state_dict())
