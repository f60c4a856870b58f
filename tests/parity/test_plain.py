"""The model against a second one that is written plainly from the paper, with the same weights.

Every mode, loss, gradient and text; the weights come in the layout of the original release, from
our own random numbers. In float64, so that only a wrong formula differs.
"""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from blip.data.examples.pairs import PairBatch
from blip.data.tokenizer import Texts
from blip.generation.beam import beam_search
from blip.generation.config import DecodingConfig
from blip.generation.greedy import greedy
from blip.model.blip import Blip
from blip.model.checkpoint.contents import read_contents
from blip.model.checkpoint.original import from_original, momentum_layout, names_of
from blip.model.checkpoint.sizes import Heads
from blip.model.decoding import DecodingSession
from blip.model.pair import PairModel
from blip.model.question import QuestionModel
from blip.nn.kernels.switch import kernels
from blip.objectives.config import ContrastiveConfig, LanguageConfig
from blip.objectives.itc import MomentumContrast
from blip.objectives.itm import Negatives
from blip.objectives.lm import lm_inputs, lm_loss
from blip.tasks.pretrain import PretrainStep
from tests.support import plain_blip as plain
from tests.support.plain_weights import (
    QUEUE,
    SIDE,
    WORDS,
    pair_weights,
    pretrain_weights,
    question_weights,
)

CLS, SEP, DEC, ENC = 1, 2, WORDS - 2, WORDS - 1
CLOSE = {"rtol": 1e-9, "atol": 1e-11}
LENGTHS = (5, 9, 3, 7)
ALPHA = 0.3


def saved(weights: dict[str, Tensor], folder: Path) -> Path:
    """A file as the original release has it."""
    torch.save({"model": weights}, folder / "model.pth")
    return folder / "model.pth"


def load(weights: dict[str, Tensor], folder: Path) -> Any:
    """Our model of these weights, in float64."""
    return read_contents(saved(weights, folder), Heads(plain.HEADS, plain.HEADS)).model().double()


def doubled(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same weights in float64, of which tied ones stay one tensor."""
    copies = {id(tensor): tensor.double() for tensor in weights.values()}
    return {name: copies[id(tensor)] for name, tensor in weights.items()}


def some_images(count: int) -> Tensor:
    source = torch.Generator().manual_seed(7)
    return torch.randn(count, 3, SIDE, SIDE, generator=source, dtype=torch.float64)


def some_texts(start: int = CLS, lengths: Sequence[int] = LENGTHS) -> list[list[int]]:
    """Texts of different lengths, which end with `[SEP]`."""
    source = torch.Generator().manual_seed(8)
    inner = [torch.randint(3, DEC, (length - 2,), generator=source) for length in lengths]
    return [[start, *ids.tolist(), SEP] for ids in inner]


def padded(texts: list[list[int]]) -> Texts:
    """The same texts as the model takes them."""
    ids = pad_sequence([torch.tensor(text) for text in texts], batch_first=True)
    lengths = torch.tensor([len(text) for text in texts])
    return Texts(ids, torch.arange(ids.shape[1]) < lengths[:, None])


@pytest.fixture(scope="module", params=[0, 1])
def weights(request: pytest.FixtureRequest) -> dict[str, Tensor]:
    return pretrain_weights(request.param)


@pytest.fixture
def model(weights: dict[str, Tensor], tmp_path: Path) -> Blip:
    return load(weights, tmp_path)


@torch.no_grad()
def test_states_features_and_logits_of_every_mode(model: Blip, weights: dict[str, Tensor]) -> None:
    exact, images = doubled(weights), some_images(len(LENGTHS))
    states = model.encode_image(images)
    features = model.image_features(states)
    own, of_texts = padded(some_texts()), padded(some_texts(ENC))
    text_states, text_features = model.encode_text(*own), model.text_features(*own)
    image_kv = model.project_image(states, "bidirectional")
    grounded, matches = model.ground(*of_texts, image_kv), model.match_logits(*of_texts, image_kv)
    predicted = model.language_logits(*padded(some_texts(DEC)), image_kv)
    for row, (image, text) in enumerate(zip(images, some_texts(), strict=True)):
        length, read, written = len(text), [ENC, *text[1:]], [DEC, *text[1:]]
        seen = plain.encode_image(exact, image)
        expected = {
            "image states": (states[row], seen),
            "image feature": (features[row], plain.unit(exact, "vision_proj", seen)),
            "text states": (
                text_states[row, :length],
                plain.read_text(exact, "text_encoder", text),
            ),
            "text feature": (
                text_features[row],
                plain.unit(exact, "text_proj", plain.read_text(exact, "text_encoder", text)),
            ),
            "grounded states": (
                grounded[row, :length],
                plain.read_text(exact, "text_encoder", read, seen),
            ),
            "match": (matches[row], plain.match_logits(exact, read, seen)),
            "next tokens": (
                predicted[row, :length],
                plain.next_token_logits(exact, written, seen),
            ),
        }
        for what, (found, value) in expected.items():
            torch.testing.assert_close(found, value, **CLOSE, msg=lambda m, w=what: f"{w}: {m}")


@pytest.mark.parametrize("fast", [True, False], ids=["kernels", "no kernels"])
def test_losses_and_gradients_of_pretraining(
    model: Blip, weights: dict[str, Tensor], fast: bool
) -> None:
    exact, images, texts = doubled(weights), some_images(len(LENGTHS)), some_texts()
    trained = {
        id(tensor): tensor.requires_grad_()
        for name, tensor in exact.items()
        if "_m." not in name and "queue" not in name
    }
    negatives = ([1, 2, 3, 0], [3, 0, 1, 2])
    expected = [
        plain.itc_loss(exact, list(images), texts, ALPHA),
        plain.itm_loss(exact, list(images), some_texts(ENC), negatives),
        plain.lm_loss(exact, list(images), some_texts(DEC)),
    ]
    torch.stack(expected).sum().backward()
    assert all(tensor.grad is not None for tensor in trained.values())

    contrast = momentum_of(model, weights)
    step = PretrainStep(
        model,
        SimpleNamespace(enc_id=ENC, dec_id=DEC),  # pyright: ignore[reportArgumentType]
        LanguageConfig(label_smoothing=plain.SMOOTHING),
        sample=lambda *_: Negatives(*map(torch.tensor, negatives)),
    )
    batch = PairBatch(images, padded(texts), torch.arange(len(texts)), keys=())
    with kernels(fast):
        output = step(batch, contrast.context(batch, ALPHA / contrast.config.alpha))
        output.loss.backward()
    found = [output.contrastive, output.matching, output.language]
    torch.testing.assert_close(torch.stack(found), torch.stack(expected), **CLOSE)
    layout = names_of("pretrain", model.config).tensors
    theirs = {name: exact[name].grad for names in layout.values() for name in names}
    gradients = from_original(layout, theirs)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(
            parameter.grad, gradients[name], **CLOSE, msg=lambda m, n=name: f"{n}: {m}"
        )


def momentum_of(model: Blip, weights: dict[str, Tensor]) -> MomentumContrast:
    """Momentum encoders and queue as the checkpoint holds them; alpha grows by 1 an epoch."""
    config = ContrastiveConfig(queue_size=QUEUE, alpha=0.9, alpha_epochs=1.0)
    contrast = MomentumContrast(model, config)
    contrast.momentum_encoder.module.load_state_dict(
        from_original(momentum_layout(model.config), weights)
    )
    contrast.queue.load_state_dict(
        {
            "images": weights["image_queue"].T.double(),
            "texts": weights["text_queue"].T.double(),
            "image_ids": torch.full((QUEUE,), -1),
            "next": 0,
            "held": QUEUE,
        }
    )
    return contrast


def test_the_loss_of_captions_behind_a_prompt(model: Blip, weights: dict[str, Tensor]) -> None:
    exact, images, texts = doubled(weights), some_images(len(LENGTHS)), some_texts(DEC)
    with torch.no_grad():
        image_kv = model.project_image(model.encode_image(images), "causal")
        for prompt_tokens in (0, 1, 2, 4):
            captions = lm_inputs(padded(texts), prompt_tokens)
            (states,) = model.text.forward_packed(image_kv, captions.inputs)
            found = lm_loss(model, captions, states, plain.SMOOTHING)
            expected = plain.lm_loss(exact, list(images), texts, prompt_tokens)
            torch.testing.assert_close(found, expected, **CLOSE)


@pytest.mark.parametrize("prompt", [[], [5, 17]], ids=["bare", "prompted"])
@pytest.mark.parametrize("beams", [1, 2, 4])
@torch.inference_mode()
def test_texts_by_greedy_and_beam_search(
    model: Blip, weights: dict[str, Tensor], prompt: list[int], beams: int
) -> None:
    exact, images, start = doubled(weights), some_images(6), [DEC, *prompt]
    image_kv = model.project_image(model.encode_image(images), "causal")
    rows = torch.tensor([start]).repeat(len(images), 1)
    found = []
    for least, most in ((1, 12), (7, 10)):
        lengths = {"min_length": least, "max_length": most}
        if beams == 1:
            config = DecodingConfig(kind="greedy", **lengths)
            texts = greedy(DecodingSession(model, image_kv), rows, SEP, config)
        else:
            config = DecodingConfig(kind="beam", beams=beams, **lengths)
            texts = beam_search(DecodingSession(model, image_kv, beams), rows, SEP, config)
        expected = [
            plain.decode(exact, seen, start, SEP, beams=beams, lengths=(least, most))
            for seen in (plain.encode_image(exact, image) for image in images)
        ]
        assert texts == expected
        found += texts
    assert len(set(map(tuple, found))) > 2, "texts that do not differ compare little"


@torch.no_grad()
def test_answers_to_questions(tmp_path: Path) -> None:
    weights = question_weights(0)
    model, exact = load(weights, tmp_path), doubled(weights)
    assert isinstance(model, QuestionModel)
    images, questions = some_images(len(LENGTHS)), some_texts(ENC)
    answers = some_texts(DEC, (4, 3, 6, 5))
    read = model.read_questions(*padded(questions), model.encode_image(images))
    logits = model.language_logits(*padded(answers), read)
    for row, (image, question, answer) in enumerate(zip(images, questions, answers, strict=True)):
        seen = plain.encode_image(exact, image)
        states = plain.read_text(exact, "text_encoder", question, seen)
        expected = plain.next_token_logits(exact, answer, states)
        torch.testing.assert_close(logits[row, : len(answer)], expected, **CLOSE)


@torch.no_grad()
def test_truth_of_statements_about_pairs(tmp_path: Path) -> None:
    weights = pair_weights(0)
    model, exact = load(weights, tmp_path), doubled(weights)
    assert isinstance(model, PairModel)
    left, right, statements = *some_images(2 * len(LENGTHS)).chunk(2), some_texts(ENC)
    states = model.encode_image(left), model.encode_image(right)
    logits = model.truth_logits(*padded(statements), model.project_pairs(*states))
    for row, statement in enumerate(statements):
        seen = [plain.encode_image(exact, images[row]) for images in (left, right)]
        expected = plain.truth_logits(exact, statement, *seen)
        torch.testing.assert_close(logits[row], expected, **CLOSE)
