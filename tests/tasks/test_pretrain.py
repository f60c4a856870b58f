"""The pre-training step: it learns everywhere and moves nothing itself."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy

from blip.data.examples.pairs import PairBatch
from blip.data.tokenizer import Texts, Tokenizer
from blip.model.blip import Blip
from blip.objectives.config import ContrastiveConfig, LanguageConfig
from blip.objectives.itc import MomentumContrast
from blip.objectives.itm import Negatives
from blip.objectives.lm import lm_inputs, lm_loss
from blip.tasks.caption import CaptionStep
from blip.tasks.pretrain import PretrainStep
from blip.tasks.retrieval import RetrievalStep
from tests.support.tiny import make_model

NEGATIVES = Negatives(torch.tensor([1, 2, 3, 0]), torch.tensor([3, 0, 1, 2]))


def make_step(tokenizer: Tokenizer, model: Blip) -> tuple[PretrainStep, MomentumContrast]:
    step = PretrainStep(model, tokenizer, LanguageConfig(), sample=lambda *_: NEGATIVES)
    return step, MomentumContrast(model, ContrastiveConfig(queue_size=8, alpha=0.3))


def test_every_parameter_learns_and_the_momentum_encoders_do_not(
    tokenizer: Tokenizer, batch: PairBatch
) -> None:
    model = make_model(tokenizer)
    step, contrast = make_step(tokenizer, model)
    step(batch, contrast.context(batch, 0.0)).loss.backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None]
    assert not silent
    assert all(p.grad is None for p in contrast.momentum_encoder.module.parameters())
    assert not any(p.requires_grad for p in contrast.momentum_encoder.module.parameters())


def test_forward_changes_nothing_and_the_verb_moves_everything(
    tokenizer: Tokenizer, batch: PairBatch
) -> None:
    model = make_model(tokenizer)
    step, contrast = make_step(tokenizer, model)
    before = {k: v.clone() for k, v in contrast.momentum_encoder.module.state_dict().items()}
    context = contrast.context(batch, 0.0)
    step(batch, context)
    assert contrast.queue.held == 0
    after = contrast.momentum_encoder.module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1.0
    contrast.after_update(context)
    assert contrast.queue.held == 4
    assert contrast.queue.contents().image_ids.tolist() == [5, 6, 7, 8]
    assert model.temperature.item() == 0.5
    moved = contrast.momentum_encoder.module.state_dict()
    for name, value in before.items():
        torch.testing.assert_close(moved[name], value + 0.005, rtol=1e-4, atol=1e-6)


def test_an_update_by_several_batches_moves_the_average_once(
    tokenizer: Tokenizer, batch: PairBatch
) -> None:
    moved = []
    for batches in (1, 2):
        torch.manual_seed(0)
        model = make_model(tokenizer)
        _, contrast = make_step(tokenizer, model)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 1.0
        contrast.after_update(*[contrast.context(batch, 0.0)] * batches)
        assert contrast.queue.held == 4 * batches
        moved.append(contrast.momentum_encoder.module.state_dict())
    one, two = moved
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_state_round_trip(tokenizer: Tokenizer, batch: PairBatch) -> None:
    model = make_model(tokenizer)
    _, contrast = make_step(tokenizer, model)
    contrast.after_update(contrast.context(batch, 0.0))
    other = MomentumContrast(model, contrast.config)
    other.load_state_dict(contrast.state_dict())
    assert torch.equal(other.queue.images, contrast.queue.images)
    assert other.queue.next == 4


@pytest.mark.parametrize(
    ("epoch", "alpha"), [(0.0, 0.0), (0.5, 0.1), (1.0, 0.2), (2.0, 0.4), (9.0, 0.4)]
)
def test_alpha_ramps_over_two_epochs(tokenizer: Tokenizer, epoch: float, alpha: float) -> None:
    contrast = MomentumContrast(make_model(tokenizer), ContrastiveConfig(queue_size=0))
    assert contrast.alpha(epoch) == pytest.approx(alpha)


def test_the_prompt_is_fed_and_not_scored(tokenizer: Tokenizer, batch: PairBatch) -> None:
    model = make_model(tokenizer)
    prompted = replace(
        batch,
        texts=tokenizer.encode(["a red circle", "a red star", "a red square", "a red ground"], 30),
    )
    step = CaptionStep(model, tokenizer, LanguageConfig(), prompt="a red ")
    loss = step(prompted).language
    image_kv = model.project_image(model.encode_image(batch.images), "causal")
    texts = prompted.texts.start_with(tokenizer.dec_id)
    logits = model.language_logits(texts.ids, texts.visible, image_kv)
    scored = torch.zeros_like(texts.visible)
    scored[:, 3:] = texts.visible[:, 3:]
    expected = cross_entropy(logits[:, :-1][scored[:, 1:]], texts.ids[scored], label_smoothing=0.1)
    torch.testing.assert_close(loss, expected)


def test_texts_of_one_image_are_never_negatives_in_retrieval(
    tokenizer: Tokenizer, batch: PairBatch
) -> None:
    model = make_model(tokenizer)
    seen: list[torch.Tensor] = []

    def draw(
        _: torch.Tensor, __: torch.Tensor, matches: torch.Tensor, ___: torch.Tensor
    ) -> Negatives:
        seen.append(matches)
        return NEGATIVES

    step = RetrievalStep(model, tokenizer, sample=draw)
    contrast = MomentumContrast(model, ContrastiveConfig(queue_size=8, positives="image"))
    twins = replace(batch, image_ids=torch.tensor([5, 5, 7, 8]))
    step(twins, contrast.context(twins, 1.0)).loss.backward()
    expected = [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert seen[0].int().tolist() == expected


def test_texts_without_words_to_predict_cost_nothing(
    tokenizer: Tokenizer, batch: PairBatch
) -> None:
    model = make_model(tokenizer)
    alone = replace(batch, texts=tokenizer.encode(["", "", "", ""], 30))
    one = replace(alone, texts=Texts(alone.texts.ids[:, :1], alone.texts.visible[:, :1]))
    image_kv = model.project_image(model.encode_image(batch.images), "causal")
    captions = lm_inputs(one.texts)
    (states,) = model.text.forward_packed(image_kv, captions.inputs)
    loss = lm_loss(model, captions, states, label_smoothing=0.1)
    loss.backward()
    assert loss.item() == 0.0
