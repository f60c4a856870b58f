"""VQA against the original: training loss, ranked candidates, written answers."""

import pytest
import torch
from torch import Tensor

from blip.data.examples.questions import QuestionBatch
from blip.data.tokenizer import Tokenizer
from blip.generation.beam import beam_search
from blip.inference.answerer import PUBLISHED_DECODING, Answerer
from blip.model.checkpoint.original import names_of, to_original
from blip.model.decoding import DecodingSession
from blip.model.question import QuestionModel
from blip.objectives.config import LanguageConfig
from blip.tasks.vqa import VqaStep
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


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    return tokenizer()


@pytest.fixture(scope="module")
def model() -> QuestionModel:
    return tiny_model("vqa", QuestionModel)


@pytest.mark.parametrize("name", ["vqa", "vqa_more"])
def test_training_loss_and_gradients(words: Tokenizer, name: str) -> None:
    golden, texts_of = vectors(name), texts()
    model = tiny_model("vqa", QuestionModel)
    counts = torch.tensor(texts_of[f"{name}.train_counts"])
    batch = QuestionBatch(
        images=golden["images"],
        questions=words.encode(texts_of[f"{name}.questions"], 35),
        answers=words.encode(texts_of[f"{name}.train_answers"], 35),
        asked=torch.arange(len(counts)).repeat_interleave(counts),
        weights=torch.tensor(texts_of[f"{name}.train_weights"]),
        keys=("",) * len(counts),
    )
    output = VqaStep(model, words, LanguageConfig())(batch)
    torch.testing.assert_close(output.loss.detach(), golden["train_loss"], **CLOSE)
    output.loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert all(gradient is not None for gradient in gradients.values())
    found = to_original(names_of("vqa", model.config), gradients)
    expected = {k.removeprefix("grad."): v for k, v in golden.items() if k.startswith("grad.")}
    assert expected
    for theirs, gradient in expected.items():
        torch.testing.assert_close(found[theirs], gradient, **CLOSE, msg=theirs)


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


@pytest.mark.parametrize("top_k", [1, 3, 6, 12, 20])
def test_scores_of_long_questions_are_the_originals(
    model: QuestionModel, words: Tokenizer, top_k: int
) -> None:
    golden, strings = vectors("vqa_more"), texts()
    candidates = strings["vqa_more.candidates"]
    found = Answerer(model, words).rank_several(
        list(golden["images"]),
        one_each(strings["vqa_more.questions"]),
        candidates,
        top_k,
        top_k=top_k,
    )
    winners = golden[f"rank.k{top_k}"].tolist()
    expected = golden[f"rank.k{top_k}.log_probs"]
    for (best,), winner, row in zip(found, winners, expected, strict=True):
        assert candidates.index(best[0].answer) == winner
        ranked = {candidates.index(one.answer): one.score for one in best}
        read = {place for place, score in enumerate(row.tolist()) if score > -9999}
        assert ranked.keys() == read
        for place, score in ranked.items():
            assert score == pytest.approx(float(row[place]), rel=1e-4)


@torch.no_grad()
def test_written_answers_to_long_questions(model: QuestionModel, words: Tokenizer) -> None:
    golden, strings = vectors("vqa_more"), texts()
    questions = encoded(strings["vqa_more.questions"], words.enc_id, 35)
    images = model.project_image(model.encode_image(golden["images"]), "bidirectional")
    states = model.ground(questions.ids, questions.visible, images)
    everything = torch.ones_like(questions.visible)
    assert write(model, words, states, everything) == strings["vqa_more.generate"]


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
