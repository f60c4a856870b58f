"""A padded vocabulary changes neither logits nor gradients, and is padded where that pays."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy, linear
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.stand_in import DEVICE, stand_in_device
from blip.data.examples.pairs import PairBatch
from blip.data.tokenizer import Tokenizer
from blip.nn.kernels.aligned import ALIGNMENT, aligned_linear, is_worth_aligning
from blip.nn.kernels.switch import kernels
from tests.support.pretrain_step import assert_same_gradients, make_step, take_step
from tests.support.tiny_data import batch, tokenizer

__all__ = ["batch", "tokenizer"]


class Products(TorchDispatchMode):
    """Notes the sizes of products."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[torch.Size] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ in ("mm", "addmm"):
            self.sizes.append(result.shape)
        return result


@given(vocabulary=st.integers(1, 40), smoothing=st.sampled_from([0.0, 0.1]))
def test_losses_and_gradients_are_those_of_the_plain_product(
    vocabulary: int, smoothing: float
) -> None:
    torch.manual_seed(vocabulary)
    shapes = [(5, 16), (vocabulary, 16), (vocabulary,)]
    inputs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    targets = torch.randint(0, vocabulary, (5,))
    found = []
    for product in (aligned_linear, linear):
        with Products() as products:
            logits = product(*inputs)
        loss = cross_entropy(logits, targets, label_smoothing=smoothing)
        found.append([logits, loss, *torch.autograd.grad(loss, inputs)])
        if product is aligned_linear:
            assert [size[1] % ALIGNMENT for size in products.sizes] == [0]
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_a_step_of_pre_training_learns_the_same(
    tokenizer: Tokenizer, batch: PairBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tokenizer.vocabulary_size % ALIGNMENT
    found = []
    for worth in (False, True):
        monkeypatch.setattr("blip.model.heads.is_worth_aligning", lambda words, worth=worth: worth)
        step, contrast = make_step(tokenizer)
        with Products() as products:
            loss, gradients, _ = take_step(step, contrast, batch)
        widths = {size[1] for size in products.sizes}
        padded = -(-tokenizer.vocabulary_size // ALIGNMENT) * ALIGNMENT
        assert (padded in widths, tokenizer.vocabulary_size in widths) == (worth, not worth)
        found.append((loss, gradients, step.state_dict()))
    (plain_loss, plain, plain_weights), (loss, gradients, weights) = found
    torch.testing.assert_close(loss, plain_loss)
    assert_same_gradients(gradients, plain)
    shapes = [{name: one.shape for name, one in each.items()} for each in (weights, plain_weights)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    ("rows", "dtype", "autocast", "worth"),
    [
        (30524, torch.bfloat16, False, True),
        (30524, torch.float32, True, True),
        (30524, torch.float32, False, False),
        (30528, torch.bfloat16, False, False),
    ],
)
def test_the_vocabulary_is_padded_in_training_in_half_precision(
    rows: int, dtype: torch.dtype, autocast: bool, worth: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: autocast)
    words = torch.zeros(rows, 1, dtype=dtype)
    assert not is_worth_aligning(words), "on a CPU"
    with stand_in_device():
        on_gpu: Tensor = words.to(DEVICE)
        assert is_worth_aligning(on_gpu) == worth
        with torch.no_grad():
            assert not is_worth_aligning(on_gpu)
        with kernels(False):
            assert not is_worth_aligning(on_gpu)
