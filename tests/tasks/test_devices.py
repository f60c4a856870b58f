"""A batch that was sent to another device: nothing mixes what lies there with what lies here."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch.utils._pytree import tree_map_only

from blip.data.examples.pairs import PairBatch
from blip.data.tokenizer import Texts, Tokenizer
from blip.model.blip import Blip
from blip.model.checkpoint.from_med import start_dialogues, start_pairs, start_questions
from blip.nn.mode import BOTH_MODES
from blip.objectives.config import ContrastiveConfig, LanguageConfig
from blip.objectives.itc import MomentumContrast
from blip.tasks.caption import CaptionStep
from blip.tasks.nlvr import NlvrStep
from blip.tasks.pretrain import PretrainStep
from blip.tasks.retrieval import RetrievalStep
from blip.tasks.visdial import DialogueStep
from blip.tasks.vqa import VqaStep
from blip.train.config import OptimizerConfig
from blip.train.optim import make_optimizer
from blip.train.parallelize import clip_gradients
from tests.support.pretrain_step import NEGATIVES, make_step
from tests.support.refuse_reads import RefuseReads
from tests.support.task_batches import dialogue_batch, question_batch, statement_batch
from tests.support.tiny import TINY

ELSEWHERE = torch.device("meta")
"""Tensors without contents: an operation that mixes them with others, or asks for one, fails."""


def make_model(tokenizer: Tokenizer) -> Blip:
    return Blip(replace(TINY, text=replace(TINY.text, vocabulary_size=tokenizer.vocabulary_size)))


def send_away(batch: Any) -> Any:
    """Pixels and tokens go; how long texts are, and which are chosen, is asked for here."""
    sent = batch.to(ELSEWHERE)
    texts = [one for one in vars_of(sent) if isinstance(one, Texts)]
    assert sent.images.device == ELSEWHERE
    assert {one.ids.device for one in texts} == {ELSEWHERE}
    assert {one.visible.device.type for one in texts} == {"cpu"}
    return sent


def vars_of(batch: Any) -> list[Any]:
    return [getattr(batch, field.name) for field in fields(batch)]


def learns(step: torch.nn.Module) -> bool:
    return any(p.grad is not None and p.grad.device == ELSEWHERE for p in step.parameters())


def begin_contrast(tokenizer: Tokenizer, batch: PairBatch) -> tuple[Blip, MomentumContrast, Any]:
    model = make_model(tokenizer)
    contrast = MomentumContrast(model, ContrastiveConfig(queue_size=8))
    context = tree_map_only(torch.Tensor, lambda t: t.to(ELSEWHERE), contrast.context(batch, 1.0))
    return model, contrast, context


def test_a_pretraining_step(
    tokenizer: Tokenizer, batch: PairBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Autocast knows of devices that compute alone.
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    model, contrast, context = begin_contrast(tokenizer, batch)
    step = PretrainStep(model, tokenizer, LanguageConfig(), sample=lambda *_: NEGATIVES)
    step.to(ELSEWHERE)
    contrast.to(ELSEWHERE)
    sent = send_away(batch)
    features = contrast.momentum_encoder.module(sent.images, sent.texts.ids, sent.texts.visible)
    assert {feature.device for feature in features} == {ELSEWHERE}
    step(sent, context).loss.backward()
    assert learns(step)


def test_a_filtering_step(
    tokenizer: Tokenizer, batch: PairBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    model, _, context = begin_contrast(tokenizer, batch)
    step = RetrievalStep(model, tokenizer, sample=lambda *_: NEGATIVES).to(ELSEWHERE)
    step(send_away(batch), context).loss.backward()
    assert learns(step)


@pytest.mark.parametrize("filters", [False, True])
def test_the_negatives_alone_are_waited_for_once_the_images_are_projected(
    tokenizer: Tokenizer, batch: PairBatch, filters: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    model, _, context = begin_contrast(tokenizer, batch)
    step = (
        RetrievalStep(model, tokenizer)
        if filters
        else PretrainStep(model, tokenizer, LanguageConfig())
    )
    step.to(ELSEWHERE)
    events, project = list[str](), model.project_image

    def fetch(tensor: torch.Tensor) -> Callable[[], torch.Tensor]:
        assert tensor.device == ELSEWHERE
        events.append("fetched")

        def wait() -> torch.Tensor:
            events.append("waited for")
            return torch.cat(NEGATIVES)

        return wait

    def project_image(*arguments: Any) -> Any:
        events.append("projected")
        return project(*arguments)

    monkeypatch.setattr("blip.objectives.itm.fetch", fetch)
    monkeypatch.setattr(model, "project_image", project_image)
    # Whatever else asked for a value would fail here.
    step(send_away(batch), context).loss.backward()
    norm = clip_gradients(step.parameters(), 1.0)
    assert norm.device == ELSEWHERE
    assert events == ["fetched", "projected", "waited for"]


def test_an_update_reads_no_value(tokenizer: Tokenizer, batch: PairBatch) -> None:
    step, contrast = make_step(tokenizer)
    context = contrast.context(batch, 1.0)
    loss = step(batch, context).loss
    optimizer = make_optimizer(step, OptimizerConfig())
    assert all(group["fused"] for group in optimizer.param_groups)
    before = [parameter.clone() for parameter in step.parameters()]
    with RefuseReads():
        loss.backward()
        clip_gradients(step.parameters(), 1.0)
        optimizer.step()
        contrast.after_update(context)
    assert not all(map(torch.equal, before, step.parameters()))


def test_a_step_of_questions(tokenizer: Tokenizer, batch: PairBatch) -> None:
    model, _ = start_questions(make_model(tokenizer))
    step = VqaStep(model, tokenizer, LanguageConfig()).to(ELSEWHERE)
    step(send_away(question_batch(batch, tokenizer))).loss.backward()
    assert learns(step)


def test_a_step_of_statements(tokenizer: Tokenizer, batch: PairBatch) -> None:
    model, _ = start_pairs(make_model(tokenizer))
    step = NlvrStep(model, tokenizer).to(ELSEWHERE)
    step(send_away(statement_batch(batch))).loss.backward()
    assert learns(step)


@pytest.mark.parametrize("language", [None, LanguageConfig()])
def test_a_step_for_dialogues(
    tokenizer: Tokenizer, batch: PairBatch, language: LanguageConfig | None
) -> None:
    modes = BOTH_MODES if language else BOTH_MODES[:1]
    model, _ = start_dialogues(make_model(tokenizer), modes, 64)
    step = DialogueStep(model, tokenizer, language).to(ELSEWHERE)
    step(send_away(dialogue_batch(batch, tokenizer))).loss.backward()
    assert learns(step)


def test_a_captioning_step_with_a_prompt(tokenizer: Tokenizer, batch: PairBatch) -> None:
    step = CaptionStep(make_model(tokenizer), tokenizer, LanguageConfig(), prompt="a red")
    step.to(ELSEWHERE)
    step(send_away(batch)).loss.backward()
    assert learns(step)
