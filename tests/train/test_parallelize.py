"""Computed again, or compiled: the same loss, every gradient, dropout included."""

from pathlib import Path

import torch

from blip.data.examples.pairs import PairBatch
from blip.data.tokenizer import Tokenizer
from blip.train.parallelize import recompute_layers
from tests.support.forked import run_module
from tests.support.pretrain_step import assert_same_gradients, make_step, take_step
from tests.support.tiny_data import batch, tokenizer

__all__ = ["batch", "tokenizer"]


def test_recomputing_changes_nothing_but_what_is_kept(
    tokenizer: Tokenizer, batch: PairBatch
) -> None:
    loss, gradients, kept = take_step(*make_step(tokenizer), batch)
    step, contrast = make_step(tokenizer)
    names = list(step.state_dict())
    recompute_layers(step)
    again, found, less = take_step(step, contrast, batch)
    assert torch.equal(again, loss)
    assert_same_gradients(found, gradients)
    assert less < kept / 2
    assert list(step.state_dict()) == names


def test_compiling_changes_nothing_recomputed_or_not(tmp_path: Path) -> None:
    # In a process of its own: the checks of shapes in this one cannot be traced.
    said = tmp_path / "said"
    assert run_module("tests.support.compiled_step", said) == 0, said.read_text()
