"""Pre-training against the original: states, losses of three steps, every gradient."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from blip.data.examples.pairs import PairBatch
from blip.data.tokenizer import Texts
from blip.model.blip import Blip
from blip.model.checkpoint.original import from_original, momentum_layout, names_of
from blip.objectives.config import ContrastiveConfig, LanguageConfig
from blip.objectives.itc import MomentumContrast
from blip.objectives.itm import Negatives
from blip.tasks.pretrain import PretrainStep
from tests.support.vectors import needs_vectors, tiny_config, vectors, weights

pytestmark = needs_vectors

CLS, DEC_FROM_END, ENC_FROM_END = 101, 2, 1
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return vectors("pretrain")


@pytest.fixture
def model() -> Blip:
    state = weights("pretrain")
    config = tiny_config(state)
    model = Blip(config)
    model.load_state_dict(from_original(names_of("pretrain", config).tensors, state))
    return model.eval()


def start_tokens(model: Blip) -> SimpleNamespace:
    words = model.config.text.vocabulary_size
    return SimpleNamespace(dec_id=words - DEC_FROM_END, enc_id=words - ENC_FROM_END)


def golden_texts(golden: dict[str, Tensor]) -> Texts:
    return Texts(golden["input_ids"], golden["attention_mask"].bool())


def test_states_and_features(model: Blip, golden: dict[str, Tensor]) -> None:
    texts, tokens = golden_texts(golden), start_tokens(model)
    with torch.no_grad():
        image_states = model.encode_image(golden["images"])
        text_states = model.encode_text(texts.ids, texts.visible)
        image_kv = model.project_image(image_states, "bidirectional")
        grounded = model.ground(texts.start_with(tokens.enc_id).ids, texts.visible, image_kv)
        logits = model.language_logits(texts.start_with(tokens.dec_id).ids, texts.visible, image_kv)
    torch.testing.assert_close(image_states, golden["image_embeds"], **CLOSE)
    seen = texts.visible
    torch.testing.assert_close(text_states[seen], golden["text_states"][seen], **CLOSE)
    torch.testing.assert_close(grounded[seen], golden["multimodal_states"][seen], **CLOSE)
    torch.testing.assert_close(logits[seen], golden["lm_logits"][seen], **CLOSE)
    torch.testing.assert_close(model.image_features(image_states), golden["image_feat"], **CLOSE)
    torch.testing.assert_close(
        model.text_features(texts.ids, texts.visible), golden["text_feat"], **CLOSE
    )


def test_three_steps_of_training(model: Blip, golden: dict[str, Tensor]) -> None:
    state = weights("pretrain")
    layout = names_of("pretrain", model.config).tensors
    queue_size = state["image_queue"].shape[1]
    contrast = MomentumContrast(model, ContrastiveConfig(queue_size=queue_size))
    contrast.momentum_encoder.module.load_state_dict(
        from_original(momentum_layout(model.config), state)
    )
    contrast.queue.load_state_dict(
        {
            "images": state["image_queue"].T,
            "texts": state["text_queue"].T,
            "image_ids": torch.full((queue_size,), -1),
            "next": int(state["queue_ptr"]),
            "held": queue_size,
        }
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    drawn: list[Negatives] = []
    step = PretrainStep(
        model,
        start_tokens(model),  # pyright: ignore[reportArgumentType] (only the ids are read)
        LanguageConfig(),
        sample=lambda *_: drawn.pop(),
    )
    texts, momentum = golden_texts(golden), {}
    for number in range(3):
        order = golden[f"step{number}.order"]
        batch = PairBatch(
            images=golden["images"][order],
            texts=Texts(texts.ids[order], texts.visible[order]),
            image_ids=order,
            keys=(),
        )
        drawn.append(
            Negatives(golden[f"step{number}.negative_image"], golden[f"step{number}.negative_text"])
        )
        alpha = float(golden[f"step{number}.alpha"])
        context = contrast.context(batch, alpha / 0.4 * contrast.config.alpha_epochs)
        output = step(batch, context)
        losses = torch.stack([output.contrastive, output.matching, output.language])
        torch.testing.assert_close(losses, golden[f"step{number}.losses"], **CLOSE)
        optimizer.zero_grad()
        output.loss.backward()
        if number == 0:
            check_gradients(model, layout, golden)
        optimizer.step()
        momentum = {k: v.clone() for k, v in contrast.momentum_encoder.module.state_dict().items()}
        contrast.after_update(context)
    check_end(model, contrast, momentum, golden)


def check_gradients(model: Blip, layout: dict, golden: dict[str, Tensor]) -> None:
    prefix = "step0.grad."
    theirs = {k.removeprefix(prefix): v for k, v in golden.items() if k.startswith(prefix)}
    expected = from_original(layout, theirs)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        torch.testing.assert_close(
            parameter.grad, expected[name], rtol=1e-3, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
        )
    used = {name for names in layout.values() for name in names}
    assert theirs.keys() <= used, sorted(theirs.keys() - used)


def check_end(
    model: Blip, contrast: MomentumContrast, momentum: dict[str, Tensor], golden: dict[str, Tensor]
) -> None:
    prefix = "after."
    after = {k.removeprefix(prefix): v for k, v in golden.items() if k.startswith(prefix)}
    before = weights("pretrain")
    if all(torch.equal(value, before[name]) for name, value in after.items()):
        pytest.skip("losses and gradients agree; the vectors' after.* were taken before step 0")
    torch.testing.assert_close(contrast.queue.images, after["image_queue"].T, **CLOSE)
    torch.testing.assert_close(contrast.queue.texts, after["text_queue"].T, **CLOSE)
    torch.testing.assert_close(model.temperature[0], after["temp"], **CLOSE)
    torch.testing.assert_close(model.text_projection.weight, after["text_proj.weight"], **CLOSE)
    # The original follows at the start of a step, with the weights of the step before.
    torch.testing.assert_close(
        momentum["text_projection.weight"], after["text_proj_m.weight"], **CLOSE
    )
    torch.testing.assert_close(
        momentum["vision.class_token"], after["visual_encoder_m.cls_token"], **CLOSE
    )
