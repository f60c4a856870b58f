"""Captioner and matcher: the same in any batch; checkpoints whole or refused."""

from pathlib import Path

import pytest
import torch

from blip.data.tokenizer import Tokenizer
from blip.errors import BlipError, UsageError
from blip.generation.config import DecodingConfig
from blip.generation.greedy import greedy
from blip.inference.captioner import Captioner
from blip.inference.checkpoint import load_model, save_model
from blip.inference.matcher import Matcher
from blip.inference.pixels import to_pixels
from blip.model.blip import Blip
from blip.model.decoding import DecodingSession
from tests.support.attentive_models import TEXTS, attentive_blip, noise_pictures
from tests.support.tiny_data import SENTENCE


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train([SENTENCE] * 3, vocabulary_size=200)


@pytest.fixture
def model(tokenizer: Tokenizer) -> Blip:
    return attentive_blip(tokenizer)


@pytest.mark.parametrize("kind", ["greedy", "beam", "nucleus"])
def test_captions_do_not_depend_on_the_batch(model: Blip, tokenizer: Tokenizer, kind: str) -> None:
    captioner = Captioner(model, tokenizer)
    decoding = DecodingConfig(kind=kind, min_length=3, max_length=12)
    images = noise_pictures(5)
    seeds = [3, 1, 4, 1, 5]
    together = captioner.caption(images, decoding, seeds=seeds)
    for batch_size in (1, 2):
        assert captioner.caption(images, decoding, seeds=seeds, batch_size=batch_size) == together
    assert all(text and "[" not in text for text in together)


@pytest.mark.parametrize("kind", ["greedy", "beam", "nucleus"])
def test_captions_from_states_are_those_from_keys_and_values(
    model: Blip, tokenizer: Tokenizer, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    captioner = Captioner(model, tokenizer)
    decoding = DecodingConfig(kind=kind, min_length=3, max_length=12)
    few = captioner.captions(noise_pictures(3), 2, decoding)
    monkeypatch.setattr("blip.inference.captioner.FEW_TOKENS", 0)
    assert captioner.captions(noise_pictures(3), 2, decoding) == few


def test_several_captions_differ_and_follow_their_seeds(model: Blip, tokenizer: Tokenizer) -> None:
    captioner = Captioner(model, tokenizer)
    decoding = DecodingConfig(kind="nucleus", top_p=1.0, min_length=3, max_length=12)
    rows = captioner.captions(noise_pictures(2), 3, decoding, seeds=[[1, 2, 3], [4, 5, 6]])
    assert [len(row) for row in rows] == [3, 3]
    assert len(set(rows[0])) == 3
    one = captioner.caption(noise_pictures(2), decoding, seeds=[2, 6])
    for wrong in ([[1], [2]], [[1, 2, 3, 4], [5, 6, 7, 8]]):
        with pytest.raises(ValueError, match="6 rows need as many seeds"):
            captioner.captions(noise_pictures(2), 3, decoding, seeds=wrong)
    assert one == [rows[0][1], rows[1][2]]


@torch.inference_mode()
def test_the_prompt_leads_and_is_left_out(model: Blip, tokenizer: Tokenizer) -> None:
    decoding = DecodingConfig(kind="greedy", prompt="a red", min_length=4, max_length=12)
    (written,) = Captioner(model, tokenizer).caption(noise_pictures(1), decoding)
    pixels = to_pixels(noise_pictures(1), model.config.vision.image_size, model.device, model.dtype)
    image_kv = model.project_image(model.encode_image(pixels), "causal")

    def continued(start: list[int]) -> str:
        session = DecodingSession(model, image_kv)
        (ids,) = greedy(session, torch.tensor([start]), tokenizer.sep_id, decoding)
        return tokenizer.decode(ids).strip()

    start = tokenizer.encode_prompt("a red")
    assert tokenizer.decode(start[1:]) == "a red"
    assert written == continued(start)
    assert written != continued(start[:1])


def test_grouped_scores_equal_one_by_one(model: Blip, tokenizer: Tokenizer) -> None:
    matcher = Matcher(model, tokenizer)
    images = noise_pictures(3)
    texts = [TEXTS[:3], [], TEXTS[1:2]]
    grouped = matcher.scores(images, texts)
    assert [len(row) for row in grouped] == [3, 0, 1]
    for image, row, scores in zip(images, texts, grouped, strict=True):
        for text, found in zip(row, scores, strict=True):
            alone = matcher.scores([image], [[text]])[0][0]
            assert found.probability == pytest.approx(alone.probability, abs=1e-5)
            assert found.cosine == pytest.approx(alone.cosine, abs=1e-5)
    assert matcher.probability(images, texts)[0][0] == grouped[0][0].probability
    assert matcher.cosine(images, texts)[2][0] == grouped[2][0].cosine
    with pytest.raises(ValueError, match="3 pictures need as many lists, got 1"):
        matcher.scores(images, [["x"]])


def test_a_checkpoint_comes_back_the_same(
    model: Blip, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    (run / "checkpoint").mkdir(parents=True)
    save_model(model, tokenizer, run / "checkpoint")
    for path in (run, run / "checkpoint"):
        loaded = load_model(path)
        assert loaded.config == model.config
        assert loaded.tokenizer.vocabulary_size == tokenizer.vocabulary_size
        for name, value in model.state_dict().items():
            assert torch.equal(loaded.model.state_dict()[name], value)


def test_truncated_and_foreign_checkpoints_are_refused(
    model: Blip, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        load_model(tmp_path / "none")
    with pytest.raises(UsageError, match="is not a checkpoint folder"):
        load_model(tmp_path)
    (tmp_path / "a" / "checkpoint").mkdir(parents=True)
    save_model(model, tokenizer, tmp_path / "a" / "checkpoint")
    with pytest.raises(UsageError, match=r"it holds .*a"):
        load_model(tmp_path)
    weights = tmp_path / "a" / "checkpoint" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:1000])
    with pytest.raises(BlipError, match="truncated or not a safetensors"):
        load_model(tmp_path / "a")
    weights.write_bytes(whole)
    config = tmp_path / "a" / "checkpoint" / "config.json"
    config.write_text(config.read_text().replace('"projection": 8', '"projection": 9'))
    with pytest.raises(BlipError, match=r"image_projection\.weight \(8, 24\) instead of \(9, 24\)"):
        load_model(tmp_path / "a")


def test_the_captions_of_a_beam_differ_the_best_first(model: Blip, tokenizer: Tokenizer) -> None:
    captioner = Captioner(model, tokenizer)
    decoding = DecodingConfig(beams=4, min_length=3, max_length=12)
    rows = captioner.captions(noise_pictures(3), 3, decoding)
    assert [row[0] for row in rows] == captioner.caption(noise_pictures(3), decoding)
    assert [len(set(row)) for row in rows] == [3, 3, 3]


def test_thousands_of_texts_are_scored_some_at_a_time(
    model: Blip, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    matcher = Matcher(model, tokenizer)
    images, texts = noise_pictures(3), [[f"{TEXTS[n % 4]} {n}" for n in range(50)], [], TEXTS[:3]]
    rows: list[int] = []
    real = matcher.model.match_logits

    def counted(ids: torch.Tensor, *more: object) -> torch.Tensor:
        rows.append(len(ids))
        return real(ids, *more)

    monkeypatch.setattr(matcher.model, "match_logits", counted)
    found = matcher.scores(images, texts)
    assert rows == [32, 16, 16, 2]
    monkeypatch.setattr("blip.inference.matcher.MAX_TEXTS", 50)
    whole = matcher.scores(images, texts)
    assert rows[4:] == [150]
    for some, of_whole in zip(found, whole, strict=True):
        assert torch.tensor(some).allclose(torch.tensor(of_whole), atol=1e-5)
    assert [len(row) for row in found] == [50, 0, 3]
