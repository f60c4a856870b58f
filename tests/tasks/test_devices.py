"""A batch that was sent to another device: nothing mixes what lies there with what lies here."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch.utils._pytree import tree_map_only

from blip.data.examples.pairs import PairBatch
from blip.data.tokenizer import Tokenizer
from blip.model.blip import Blip
from blip.objectives.config import ContrastiveConfig, LanguageConfig
from blip.objectives.itc import MomentumContrast
from blip.tasks.caption import CaptionStep
from blip.tasks.pretrain import PretrainStep
from tests.support.pretrain_step import NEGATIVES
from tests.support.tiny import TINY

ELSEWHERE = torch.device("meta")
"""Tensors without contents: an operation that mixes them with others, or asks for one, fails."""


def make_model(tokenizer: Tokenizer) -> Blip:
    return Blip(replace(TINY, text=replace(TINY.text, vocabulary_size=tokenizer.vocabulary_size)))


def send_away(batch: PairBatch) -> PairBatch:
    sent = batch.to(ELSEWHERE)
    assert sent.images.device == sent.texts.ids.device == ELSEWHERE
    assert sent.texts.visible.device.type == "cpu", "how long texts are is asked for here"
    return sent


def learns(step: torch.nn.Module) -> bool:
    return any(p.grad is not None and p.grad.device == ELSEWHERE for p in step.parameters())


def test_a_pretraining_step(
    tokenizer: Tokenizer, batch: PairBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Autocast knows of devices that compute alone.
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    model = make_model(tokenizer)
    contrast = MomentumContrast(model, ContrastiveConfig(queue_size=8))
    context = tree_map_only(torch.Tensor, lambda t: t.to(ELSEWHERE), contrast.context(batch, 1.0))
    step = PretrainStep(model, tokenizer, LanguageConfig(), sample=lambda *_: NEGATIVES)
    step.to(ELSEWHERE)
    contrast.to(ELSEWHERE)
    sent = send_away(batch)
    features = contrast.momentum_encoder.module(sent.images, sent.texts.ids, sent.texts.visible)
    assert {feature.device for feature in features} == {ELSEWHERE}
    step(sent, context).loss.backward()
    assert learns(step)


def test_a_captioning_step_with_a_prompt(tokenizer: Tokenizer, batch: PairBatch) -> None:
    step = CaptionStep(make_model(tokenizer), tokenizer, LanguageConfig(), prompt="a red")
    step.to(ELSEWHERE)
    step(send_away(batch)).loss.backward()
    assert learns(step)
