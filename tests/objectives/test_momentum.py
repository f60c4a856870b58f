"""Momentum copies follow by the formula and receive no gradient."""

import pytest
import torch
from torch import nn

from blip.objectives.momentum import Follower


def test_it_follows_by_moving_average() -> None:
    leader, module = nn.Linear(3, 2), nn.Linear(3, 2)
    follower = Follower(module, leader)
    start = leader.weight.detach().clone()
    assert torch.equal(module.weight, start)
    with torch.no_grad():
        leader.weight += 1.0
    follower.follow(0.9)
    torch.testing.assert_close(module.weight, start + 0.1)
    assert not any(p.requires_grad for p in module.parameters())


def test_a_stranger_cannot_be_followed() -> None:
    with pytest.raises(ValueError, match=r"nothing to follow for 0\.bias"):
        Follower(nn.Sequential(nn.Linear(3, 2)), nn.Linear(3, 2))
