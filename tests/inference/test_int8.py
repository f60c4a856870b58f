"""Models in int8: near those in float32 in all that they do, refused where they would not work."""

from pathlib import Path

import pytest
import torch

from blip import load
from blip.data.tokenizer import Tokenizer
from blip.errors import UsageError
from blip.generation.config import DecodingConfig
from blip.inference.answerer import Answerer
from blip.inference.captioner import Captioner
from blip.inference.checkpoint import save_model
from blip.inference.embedder import Embedder
from blip.inference.matcher import Matcher
from blip.log import say_once
from blip.model import int8
from blip.model.decoding import DecodingSession
from blip.nn import device as devices
from blip.nn.attention import MultiHeadCrossAttention
from blip.nn.device import choose_format
from blip.nn.kernels import int8_weight
from blip.nn.kernels.int8_weight import int8_multiplies
from blip.nn.kernels.switch import kernels
from blip.nn.linear import Linear
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


@pytest.fixture(scope="module")
def saved(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("blip")
    save_model(attentive_blip(tokenizer), tokenizer, folder)
    return folder


@pytest.fixture(autouse=True)
def computes_somehow():
    with kernels(int8_multiplies()):
        yield


def test_scores_and_features_are_near_those_in_float32(saved: Path) -> None:
    images, texts = noise_pictures(3), [TEXTS] * 3
    exact, found = (
        torch.tensor(Matcher.load(saved, precision=precision).scores(images, texts))
        for precision in ("float32", "int8")
    )
    torch.testing.assert_close(found, exact, atol=0.03, rtol=0)
    assert not torch.equal(found, exact)
    exact, found = (
        Embedder.load(saved, precision=precision).embed_images(images)
        for precision in ("float32", "int8")
    )
    assert ((exact * found).sum(axis=1) > 0.999).all()


@pytest.mark.parametrize("vnni", [True, False])
def test_logits_are_near_those_in_float32_and_use_the_rounded_words(
    saved: Path, monkeypatch: pytest.MonkeyPatch, *, vnni: bool
) -> None:
    computes = int8_multiplies() and (int8_weight.has_vnni() or not vnni)
    for module in (int8, int8_weight):
        monkeypatch.setattr(module, "has_vnni", lambda: vnni)
    logits = []
    for precision in ("float32", "int8"):
        with kernels(computes), torch.inference_mode():
            model = Captioner.load(saved, precision=precision).model
            states = model.encode_image(torch.linspace(-1, 1, 2 * 3 * 32 * 32).view(2, 3, 32, 32))
            session = DecodingSession(model, model.project_image(states, "causal"), copies=2)
            logits.append(session(torch.full((4, 1), 3)))
    exact, found = logits
    assert found.dtype == torch.float32
    assert (found - exact).norm() < 0.02 * exact.norm()
    assert all(part.int8 for part in model.vision.modules() if isinstance(part, Linear))
    cross = [part for part in model.text.modules() if isinstance(part, MultiHeadCrossAttention)]
    assert all(part.key_value.int8 for part in cross)
    assert len(cross) == model.config.text.depth
    head = model.language_head.int8
    if vnni:
        assert head is not None
        words = model.text.embedding.select("causal").words.weight
        assert (head.outputs, head.inputs) == words.shape
    else:
        # What decoding reads, a few rows at a time, stays in float32.
        assert head is None
        assert all(part.query.int8 is None for part in cross)


@pytest.mark.parametrize("kind", ["greedy", "beam", "nucleus"])
def test_every_search_writes_captions(saved: Path, kind: str) -> None:
    captioner = Captioner.load(saved, precision="int8")
    decoding = DecodingConfig(kind=kind, min_length=3, max_length=12)
    found = captioner.captions(noise_pictures(3), 2, decoding)
    assert [len(row) for row in found] == [2, 2, 2]
    assert all(text and "[" not in text for row in found for text in row)


def test_questions_are_answered(tokenizer: Tokenizer, tmp_path: Path) -> None:
    save_model(attentive_question_model(tokenizer), tokenizer, tmp_path)
    rows = []
    for precision in ("float32", "int8"):
        answerer = Answerer.load(tmp_path, precision=precision)
        ranked = answerer.rank(noise_pictures(4), QUESTIONS, CANDIDATES[:1])
        rows.append(torch.tensor([best.score for row in ranked for best in row]))
    torch.testing.assert_close(rows[1], rows[0], atol=0, rtol=0.05)


def test_a_model_in_int8_is_not_saved(saved: Path, tmp_path: Path) -> None:
    loaded = load(saved, "cpu", precision="int8")
    with pytest.raises(UsageError, match="in int8 cannot be saved"):
        save_model(loaded.model, loaded.tokenizer, tmp_path)


def test_a_processor_without_the_instructions_refuses_it(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "int8_multiplies", lambda: False)
    with kernels(True), pytest.raises(UsageError, match="needs an x86 CPU with AVX2 or VNNI"):
        load(saved, "cpu", precision="int8")
    with pytest.raises(UsageError, match="is for CPUs; on cuda:1 use bfloat16 or float32"):
        choose_format("int8", torch.device("cuda:1"))


def test_a_type_that_is_emulated_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for has_it in (True, False):
        monkeypatch.setattr(devices, "bfloat16_multiplies", lambda has_it=has_it: has_it)
        monkeypatch.setattr(devices, "float16_multiplies", lambda has_it=has_it: has_it)
        say_once.cache_clear()
        assert choose_format("bfloat16", torch.device("cpu")) == torch.bfloat16
        assert ("only emulates bfloat16" in capsys.readouterr().err) is not has_it
        assert choose_format(torch.float16, torch.device("cpu")) == torch.float16
        assert ("only emulates float16" in capsys.readouterr().err) is not has_it
        assert choose_format(torch.float64, torch.device("cpu")) == torch.float64
        assert capsys.readouterr().err == ""
