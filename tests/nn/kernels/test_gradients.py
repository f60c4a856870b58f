"""Gradients that are added in place are those of autograd, and only where they may be."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from blip.nn.kernels.gradients import adding_gradients_in_place, look_up
from blip.nn.kernels.onednn import MIN_WEIGHT_SIZE, onednn_multiplies
from blip.nn.kernels.switch import kernels
from blip.nn.linear import Linear
from tests.support.pretrain_step import assert_same_gradients

WIDTH = 64


class Tied(nn.Module):
    """Words, a layer that is used three times, and logits by the same words."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(MIN_WEIGHT_SIZE // WIDTH, WIDTH)
        self.layer = Linear(WIDTH, MIN_WEIGHT_SIZE // WIDTH)
        self.head = Linear(WIDTH, MIN_WEIGHT_SIZE // WIDTH, bias=False)
        self.head.weight = self.words.weight

    def forward(self, ids: Tensor) -> Tensor:
        states = look_up(self.words, ids)
        for _ in range(3):
            states = states + self.layer(states)[..., :WIDTH].tanh()
        # A part of a weight is no parameter.
        states = states + nn.functional.linear(states, self.layer.weight[:WIDTH])
        again = look_up(self.words, ids.flip(0))
        return (self.head(states) + self.head(again)).logsumexp(-1).mean()


@pytest.fixture
def tied() -> Tied:
    torch.manual_seed(0)
    return Tied()


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("recomputed", [False, True])
def test_gradients_are_those_of_autograd(tied: Tied, steps: int, recomputed: bool) -> None:
    ids = torch.randint(0, 1000, (2, 3, 5))
    loss = partial(checkpoint, tied, use_reentrant=False) if recomputed else tied
    for number in range(steps):
        tied(ids + number).backward()
    expected = gradients(tied)
    assert set(expected) == {"words.weight", "layer.weight", "layer.bias"}
    tied.zero_grad()
    for number in range(steps):
        with adding_gradients_in_place():
            loss(ids + number).backward()
    assert_same_gradients(gradients(tied), expected)


@pytest.mark.skipif(
    not onednn_multiplies(torch.float32), reason="oneDNN is used on x86 processors alone"
)
def test_autograd_adds_nothing_up_for_a_weight_that_is_used_often(tied: Tied) -> None:
    given: list[Tensor | None] = []
    tied.words.weight.register_hook(given.append)
    ids = torch.randint(0, 1000, (2, 5))
    with adding_gradients_in_place():
        tied(ids).backward()
    assert given == [None]
    tied(ids).backward()
    assert given[1] is not None


def test_what_is_frozen_gets_none(tied: Tied) -> None:
    tied.words.weight.requires_grad_(False)
    with adding_gradients_in_place():
        tied(torch.tensor([[1, 2]])).backward()
    assert tied.words.weight.grad is None
    assert tied.layer.weight.grad is not None


def test_without_kernels_autograd_does_it(tied: Tied) -> None:
    given: list[Tensor] = []
    tied.words.weight.register_hook(given.append)
    with kernels(False), adding_gradients_in_place():
        tied(torch.tensor([[1, 2]])).backward()
    assert len(given) == 1
