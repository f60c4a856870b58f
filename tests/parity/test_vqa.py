"""VQA against the original: training loss, ranked candidates, written answers."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from blip.data.tokenizer import Tokenizer
from blip.generation.beam import beam_search
from blip.inference.answerer import PUBLISHED_DECODING, Answerer
from blip.model.decoding import DecodingSession
from blip.model.question import QuestionModel
from tests.support.vectors import (
    CLOSE,
    encoded,
    needs_vectors,
    texts,
    tiny_model,
    tokenizer,
    vectors,
)

pytestmark = needs_vectors

SMOOTHING = 0.1


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    return tokenizer()


@pytest.fixture(scope="module")
def model() -> QuestionModel:
    return tiny_model("vqa", QuestionModel)


@torch.no_grad()
def test_answers_count_by_their_weights_in_training(model: QuestionModel, words: Tokenizer) -> None:
    golden, strings = vectors("vqa"), texts()
    questions = encoded(strings["vqa.questions"], words.enc_id)
    answers = encoded(strings["vqa.train_answers"], words.dec_id)
    image_kv = model.read_questions(
        questions.ids, questions.visible, model.encode_image(golden["images"])
    )
    counts = torch.tensor(strings["vqa.train_counts"])
    asked = image_kv.select(torch.arange(len(counts)).repeat_interleave(counts))
    logits = model.language_logits(answers.ids, answers.visible, asked)[:, :-1]
    targets = answers.ids[:, 1:].masked_fill(~answers.visible[:, 1:], -100)
    losses = cross_entropy(
        logits.transpose(1, 2), targets, label_smoothing=SMOOTHING, reduction="none"
    ).sum(dim=1)
    loss = (losses * torch.tensor(strings["vqa.train_weights"])).sum() / len(counts)
    torch.testing.assert_close(loss, golden["train_loss"], **CLOSE)


@pytest.mark.parametrize("top_k", [4, 11])
def test_ranking_finds_the_originals_winners(
    model: QuestionModel, words: Tokenizer, top_k: int
) -> None:
    golden, strings = vectors("vqa"), texts()
    candidates = strings["vqa.candidates"]
    found = Answerer(model, words).rank(
        list(golden["images"]), one_each(strings["vqa.questions"]), candidates, top_k=top_k
    )
    places = [candidates.index(ranked.answer) for (ranked,) in found]
    assert places == golden[f"rank.k{top_k}"].tolist()


@torch.no_grad()
def test_written_answers_where_the_decoder_sees_the_padding(
    model: QuestionModel, words: Tokenizer
) -> None:
    """As the original does when it writes answers to several questions at once."""
    golden, strings = vectors("vqa"), texts()
    questions = encoded(strings["vqa.questions"], words.enc_id)
    assert not questions.visible.all()
    images = model.project_image(model.encode_image(golden["images"]), "bidirectional")
    states = model.ground(questions.ids, questions.visible, images)
    everything = torch.ones_like(questions.visible)
    found = write(model, words, states, everything)
    assert found == strings["vqa.generate"]
    # Without the padding some of them read otherwise, and so they do in our interface.
    unpadded = write(model, words, states, questions.visible)
    assert unpadded != found
    answers = Answerer(model, words).answer(
        list(golden["images"]), one_each(strings["vqa.questions"])
    )
    assert [answer for (answer,) in answers] == unpadded


def write(model: QuestionModel, words: Tokenizer, states: Tensor, visible: Tensor) -> list[str]:
    image_kv = model.project_questions(states, visible)
    session = DecodingSession(model, image_kv, copies=PUBLISHED_DECODING.beams)
    prompt = torch.full((len(states), 1), words.dec_id)
    ids = beam_search(session, prompt, words.sep_id, PUBLISHED_DECODING)
    return [words.decode(row) for row in ids]


def one_each(questions: list[str]) -> list[list[str]]:
    return [[question] for question in questions]
