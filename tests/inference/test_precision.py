"""Models in bfloat16: near those in float32, and what comes out is float32."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from blip import load
from blip.data.tokenizer import Tokenizer
from blip.errors import ArgumentError
from blip.generation.config import DecodingConfig
from blip.inference.answerer import Answerer
from blip.inference.captioner import Captioner
from blip.inference.checkpoint import load_model, open_checkpoint, save_model
from blip.inference.matcher import Matcher
from blip.model.blip import Blip
from blip.model.decoding import DecodingSession
from blip.model.question import QuestionModel
from tests.support.attentive_models import (
    CANDIDATES,
    QUESTIONS,
    TEXTS,
    attentive_blip,
    attentive_question_model,
    noise_pictures,
)
from tests.support.tiny_data import SENTENCE


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train([SENTENCE] * 3, vocabulary_size=200)


@pytest.fixture
def model(tokenizer: Tokenizer) -> Blip:
    return attentive_blip(tokenizer)


@pytest.fixture(scope="module")
def question_model(tokenizer: Tokenizer) -> QuestionModel:
    return attentive_question_model(tokenizer)


@pytest.fixture
def saved(model: Blip, tokenizer: Tokenizer, tmp_path: Path) -> Path:
    save_model(model, tokenizer, tmp_path)
    return tmp_path


def test_the_weights_come_in_the_format_that_is_asked_for(saved: Path) -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        loaded = load(saved, precision=dtype).model
        assert loaded.dtype == dtype
        assert {parameter.dtype for parameter in loaded.parameters()} == {dtype}
    assert load(saved).model.dtype == torch.float32


def test_an_opened_checkpoint_is_loaded_in_the_precision_that_is_given(saved: Path) -> None:
    checkpoint = open_checkpoint(saved)
    for precision, dtype in (
        ("float32", torch.float32),
        ("bfloat16", torch.bfloat16),
        ("auto", torch.float32),
        (torch.float64, torch.float64),
    ):
        assert checkpoint.load(precision=precision).model.dtype == dtype
        assert checkpoint.load_as(Blip, "cpu", precision=precision).model.dtype == dtype
    assert checkpoint.load("auto").model.dtype == torch.float32
    with pytest.raises(ArgumentError, match="precision must be auto"):
        checkpoint.load(precision=torch.int8)


def test_the_former_name_of_precision_is_reported_at_the_callers_line(saved: Path) -> None:
    for loading in (load, load_model):
        with pytest.warns(FutureWarning, match="dtype is now precision") as warned:
            assert loading(saved, dtype=torch.bfloat16).model.dtype == torch.bfloat16
        assert [warning.filename for warning in warned] == [__file__]


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16])
def test_weights_that_are_stored_in_half_precision_give_scores_near_those_of_float32(
    saved: Path, stored: torch.dtype
) -> None:
    images, texts = noise_pictures(2), [TEXTS] * 2
    exact = torch.tensor(Matcher.load(saved).scores(images, texts))
    path = saved / "model.safetensors"
    half = {name: tensor.to(stored) for name, tensor in load_file(path).items()}
    save_file(half, path)
    found = torch.tensor(Matcher.load(saved).scores(images, texts))
    torch.testing.assert_close(found, exact, atol=0.03, rtol=0)
    assert not torch.equal(found, exact)
    kept = load(saved, precision=stored).model.state_dict()
    assert all(torch.equal(kept[name], half[name]) for name in half), "kept where that is asked for"


def test_scores_in_bfloat16_are_near_those_in_float32(saved: Path) -> None:
    images, texts = noise_pictures(3), [TEXTS] * 3
    found = {
        dtype: Matcher.load(saved, precision=dtype).scores(images, texts)
        for dtype in (torch.float64, torch.float32, torch.bfloat16)
    }
    assert all(type(score) is float for row in found[torch.bfloat16] for s in row for score in s)
    whole, exact, rough = (
        torch.tensor(found[dtype], dtype=torch.float64)
        for dtype in (torch.float64, torch.float32, torch.bfloat16)
    )
    # Eight bits of a number, through two layers of a vision and of a text transformer.
    torch.testing.assert_close(rough, whole, atol=0.03, rtol=0)
    torch.testing.assert_close(exact, whole, atol=1e-5, rtol=0)
    assert not torch.equal(rough, exact), "nothing was computed in bfloat16"
    assert not torch.equal(exact, whole), "nothing was computed in float64"
    for column in rough.unbind(dim=2):
        assert not torch.equal(column.bfloat16().double(), column), "a score is a bfloat16"


def test_features_in_bfloat16_are_of_length_one(saved: Path) -> None:
    model = Matcher.load(saved, precision=torch.bfloat16).model
    ids = torch.randint(5, 60, (4, 6))
    with torch.inference_mode():
        states = model.encode_image(torch.randn(4, 3, 32, 32, dtype=torch.bfloat16))
        features = [model.image_features(states), model.text_features(ids, ids > 0)]
    for found in features:
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.norm(dim=1), torch.ones(4))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_logits_are_in_float32_at_least(saved: Path, dtype: torch.dtype) -> None:
    model = Captioner.load(saved, precision=dtype).model
    with torch.inference_mode():
        states = model.encode_image(torch.randn(2, 3, 32, 32, dtype=dtype))
        session = DecodingSession(model, model.project_image(states, "causal"), copies=2)
        logits = session(torch.full((4, 1), 3))
    assert logits.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


@pytest.mark.parametrize("kind", ["greedy", "beam", "nucleus"])
def test_every_search_writes_captions_in_bfloat16(
    saved: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    captioner = Captioner.load(saved, precision=torch.bfloat16)
    decoding = DecodingConfig(kind=kind, min_length=3, max_length=12)
    # From states as they are, and from keys and values.
    for few_tokens in (40, 0):
        monkeypatch.setattr("blip.inference.captioner.FEW_TOKENS", few_tokens)
        found = captioner.captions(noise_pictures(3), 2, decoding)
        assert all(text and "[" not in text for row in found for text in row)


def test_answers_are_written_and_ranked_in_bfloat16(
    question_model: QuestionModel, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    save_model(question_model, tokenizer, tmp_path)
    images = noise_pictures(4)
    rows = {}
    for dtype in (torch.float64, torch.bfloat16):
        answerer = Answerer.load(tmp_path, precision=dtype)
        ranked = answerer.rank(images, QUESTIONS, CANDIDATES[:1])
        rows[dtype] = torch.tensor([best.score for row in ranked for best in row])
        assert [len(row) for row in answerer.answer(images, QUESTIONS)] == [3, 0, 1, 2]
    torch.testing.assert_close(rows[torch.bfloat16], rows[torch.float64], atol=0, rtol=0.05)
