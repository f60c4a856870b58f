"""Answers: the same in any batch and among any neighbours; ranked as a plain sum would."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from blip.data.tokenizer import Tokenizer
from blip.errors import UsageError
from blip.generation.config import DecodingConfig
from blip.inference import answerer as module
from blip.inference.answerer import Answerer
from blip.inference.checkpoint import save_model
from blip.model.blip import Blip
from blip.model.question import QuestionModel
from blip.nn.kv import ImageKV
from tests.support.attentive_models import (
    CANDIDATES,
    QUESTIONS,
    attentive_question_model,
    noise_pictures,
)
from tests.support.tiny import TINY
from tests.support.tiny_data import SENTENCE


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train([SENTENCE] * 3, vocabulary_size=200)


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> QuestionModel:
    return attentive_question_model(tokenizer)


@pytest.fixture(scope="module")
def answerer(model: QuestionModel, tokenizer: Tokenizer) -> Answerer:
    return Answerer(model, tokenizer)


@pytest.mark.parametrize("kind", ["beam", "greedy"])
def test_answers_do_not_depend_on_their_neighbours(answerer: Answerer, kind: str) -> None:
    decoding = DecodingConfig(kind=kind, min_length=3, max_length=9)
    images = noise_pictures(4)
    together = answerer.answer(images, QUESTIONS, decoding)
    assert [len(row) for row in together] == [3, 0, 1, 2]
    for batch_size in (1, 2, 3):
        assert answerer.answer(images, QUESTIONS, decoding, batch_size=batch_size) == together
    for image, row, answers in zip(images, QUESTIONS, together, strict=True):
        alone = [answerer.answer([image], [[question]], decoding)[0][0] for question in row]
        assert alone == answers
    different = {answer for row in together for answer in row}
    assert len(different) > 1
    assert not any("[" in answer for answer in different)


def test_ranks_do_not_depend_on_their_neighbours(
    answerer: Answerer, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = noise_pictures(4)
    together = answerer.rank(images, QUESTIONS, CANDIDATES)
    assert [len(row) for row in together] == [3, 0, 1, 2]
    few = len(CANDIDATES) + 1
    for batch_size, name, most in ((1, "ROWS", few), (3, "ROWS", few), (3, "SCORED", 3)):
        monkeypatch.setattr(module, name, most)
        again = answerer.rank(images, QUESTIONS, CANDIDATES, batch_size=batch_size)
        for row, same in zip(together, again, strict=True):
            for one, other in zip(row, same, strict=True):
                assert one.answer == other.answer
                assert one.probability == pytest.approx(other.probability, rel=1e-4)
                assert one.score == pytest.approx(other.score, rel=1e-4)


def asked(
    model: QuestionModel, tokenizer: Tokenizer, image: torch.Tensor, question: str
) -> ImageKV:
    """What the decoder reads of one question, by the model's parts alone."""
    ids, visible = tokenizer.encode([question], 35).start_with(tokenizer.enc_id)
    return model.read_questions(ids, visible, model.encode_image(image[None]))


@torch.no_grad()
def test_the_best_candidate_is_the_likeliest_by_a_plain_sum(
    model: QuestionModel, tokenizer: Tokenizer, answerer: Answerer
) -> None:
    image, question = torch.randn(3, 32, 32), "is it a star?"
    question_kv = asked(model, tokenizer, image, question)
    found = {}
    for candidate in CANDIDATES:
        ids, visible = tokenizer.encode([candidate], 35).start_with(tokenizer.dec_id)
        logits = model.language_logits(ids, visible, question_kv)[0, :-1].log_softmax(1)
        log_probability = logits.gather(1, ids[0, 1:, None]).sum()
        found[candidate] = (
            float(0.9 * log_probability + 0.1 * logits.mean(1).sum()),
            float(log_probability.exp()),
        )
    ((best,),) = answerer.rank([image], [[question]], CANDIDATES)
    assert best.answer == max(found, key=lambda candidate: found[candidate][0])
    assert (best.score, best.probability) == pytest.approx(found[best.answer], rel=1e-4)


@torch.no_grad()
def test_the_first_token_chooses_who_is_read(
    model: QuestionModel, tokenizer: Tokenizer, answerer: Answerer
) -> None:
    image, question = torch.randn(3, 32, 32), "is it a star?"
    question_kv = asked(model, tokenizer, image, question)
    start = torch.tensor([[tokenizer.dec_id]])
    logits = model.language_logits(start, torch.ones_like(start).bool(), question_kv)[0, 0]
    first = [tokenizer.encode([candidate], 35).ids[0, 1] for candidate in CANDIDATES]
    likeliest = max(CANDIDATES, key=lambda candidate: logits[first[CANDIDATES.index(candidate)]])
    ((best,),) = answerer.rank([image], [[question]], CANDIDATES, top_k=1)
    assert best.answer == likeliest


def test_a_picture_is_encoded_once_for_all_its_questions(
    answerer: Answerer, model: QuestionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode, encoded = model.encode_image, []

    def counting(images: torch.Tensor) -> torch.Tensor:
        encoded.append(len(images))
        return encode(images)

    monkeypatch.setattr(model, "encode_image", counting)
    answerer.answer(noise_pictures(4), QUESTIONS, batch_size=2)
    assert encoded == [2, 2]


def test_wrong_requests_are_refused(answerer: Answerer) -> None:
    images = noise_pictures(1)
    with pytest.raises(ValueError, match="1 pictures need as many lists, got 2"):
        answerer.answer(images, [["a?"], ["b?"]])
    with pytest.raises(ValueError, match="by beam or greedy, got nucleus"):
        answerer.answer(images, [["a?"]], DecodingConfig(kind="nucleus"))
    with pytest.raises(ValueError, match="chosen from candidates, got none"):
        answerer.rank(images, [["a?"]], [])
    for question in ("", " (!) "):
        with pytest.raises(ValueError, match=r"questions of picture 1: '.*' has no words"):
            answerer.rank(images, [["a?", question]], CANDIDATES)
    with pytest.raises(ValueError, match=r"batch_size must be a whole number, got 1\.5"):
        answerer.answer(images, [["a?"]], batch_size=1.5)  # pyright: ignore
    with pytest.raises(ValueError, match="top_k must be positive, got 0"):
        answerer.rank(images, [["a?"]], CANDIDATES, top_k=0)
    assert answerer.answer([], []) == []


def test_a_checkpoint_for_questions_is_opened_and_another_is_not(
    model: QuestionModel, tokenizer: Tokenizer, answerer: Answerer, tmp_path: Path
) -> None:
    save_model(model, tokenizer, tmp_path)
    images = noise_pictures(1)
    loaded = Answerer.load(tmp_path)
    assert loaded.answer(images, QUESTIONS[:1]) == answerer.answer(images, QUESTIONS[:1])
    text = replace(TINY.text, vocabulary_size=tokenizer.vocabulary_size)
    save_model(Blip(replace(TINY, text=text)), tokenizer, tmp_path)
    with pytest.raises(UsageError, match=r"holds a MED .*; this needs a model for questions"):
        Answerer.load(tmp_path)
