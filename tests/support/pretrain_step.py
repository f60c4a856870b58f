"""A pre-training step with chosen negatives: loss, gradients, and what it keeps for them."""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from blip.data.examples.pairs import PairBatch
from blip.data.tokenizer import Tokenizer
from blip.model.blip import Blip
from blip.objectives.config import ContrastiveConfig, LanguageConfig
from blip.objectives.itc import MomentumContrast
from blip.objectives.itm import Negatives
from blip.tasks.pretrain import PretrainStep
from tests.support.tiny import TINY

NEGATIVES = Negatives(torch.tensor([1, 2, 3, 0]), torch.tensor([3, 0, 1, 2]))


def make_step(tokenizer: Tokenizer) -> tuple[PretrainStep, MomentumContrast]:
    torch.manual_seed(0)
    text = replace(TINY.text, vocabulary_size=tokenizer.vocabulary_size, dropout=0.2)
    model = Blip(replace(TINY, text=text, vision=replace(TINY.vision, drop_path=0.5)))
    step = PretrainStep(model, tokenizer, LanguageConfig(), sample=lambda *_: NEGATIVES)
    return step.train(), MomentumContrast(model, ContrastiveConfig(queue_size=8))


def take_step(
    step: nn.Module, contrast: MomentumContrast, batch: PairBatch
) -> tuple[Tensor, dict[str, Tensor], int]:
    """Loss, gradients, and elements kept for the backward pass."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    context = contrast.context(batch, 1.0)
    torch.manual_seed(1)
    with saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = step(batch, context).loss
    loss.backward()
    gradients = {n: p.grad for n, p in step.named_parameters() if p.grad is not None}
    return loss.detach(), gradients, sum(kept.values())


def assert_same_gradients(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6, msg=name)
