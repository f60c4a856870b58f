"""All predictors take the same arguments, give the same errors, and keep to the batch size."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from blip import Answerer, Captioner, Embedder, Matcher
from blip.config.ranges import RangeError
from blip.data.images import BadImageError
from blip.data.tokenizer import Tokenizer
from blip.errors import ArgumentError, NotFiniteError, UsageError
from blip.generation.config import DecodingConfig
from blip.inference.base import batches
from blip.inference.checkpoint import save_model
from blip.model.blip import Blip
from blip.model.question import QuestionModel
from tests.support.attentive_models import (
    TEXTS,
    attentive_blip,
    attentive_question_model,
    noise_pictures,
)
from tests.support.tiny import TINY
from tests.support.tiny_data import SENTENCE

Call = Callable[..., Any]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train([SENTENCE] * 3, vocabulary_size=200)


@pytest.fixture(scope="module")
def blip(tokenizer: Tokenizer) -> Blip:
    return attentive_blip(tokenizer)


@pytest.fixture(scope="module")
def question_model(tokenizer: Tokenizer) -> QuestionModel:
    return attentive_question_model(tokenizer)


@pytest.fixture(scope="module")
def calls(blip: Blip, question_model: QuestionModel, tokenizer: Tokenizer) -> dict[str, Call]:
    """Every public method that takes pictures, as a function of these and of `batch_size`."""
    captioner, matcher = Captioner(blip, tokenizer), Matcher(blip, tokenizer)
    answerer, embedder = Answerer(question_model, tokenizer), Embedder(blip, tokenizer)

    def with_texts(method: Call, *more: Any) -> Call:
        def call(images: Any, **batch: int) -> Any:
            count = len(images) if hasattr(images, "__len__") else 1
            return method(images, [TEXTS[:2]] * count, *more, **batch)

        return call

    return {
        "caption": captioner.caption,
        "captions": lambda images, **batch: captioner.captions(images, 2, **batch),
        "scored_captions": captioner.scored_captions,
        "probability": with_texts(matcher.probability),
        "cosine": with_texts(matcher.cosine),
        "scores": with_texts(matcher.scores),
        "answer": with_texts(answerer.answer),
        "answer_several": with_texts(answerer.answer_several, 2),
        "rank": with_texts(answerer.rank, TEXTS),
        "rank_several": with_texts(answerer.rank_several, TEXTS, 2),
        "embed_images": embedder.embed_images,
        "stream_images": lambda images, **batch: list(embedder.stream_images(images, **batch)),
    }


METHODS = [
    *("caption", "captions", "scored_captions", "probability", "cosine", "scores"),
    *("answer", "answer_several", "rank", "rank_several", "embed_images", "stream_images"),
]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("batch_size", "expected"), [(1, [1] * 5), (2, [2, 2, 1]), (8, [5])])
def test_at_most_batch_size_pictures_go_through_the_model_together(
    calls: dict[str, Call],
    blip: Blip,
    question_model: QuestionModel,
    method: str,
    batch_size: int,
    expected: list[int],
) -> None:
    encoded: list[int] = []

    def count(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        encoded.append(len(inputs[0]))

    hooks = [model.vision.register_forward_pre_hook(count) for model in (blip, question_model)]
    try:
        calls[method](noise_pictures(5), batch_size=batch_size)
    finally:
        for hook in hooks:
            hook.remove()
    assert encoded == expected


@pytest.mark.parametrize("method", METHODS)
def test_every_method_refuses_the_same_mistakes(
    calls: dict[str, Call], method: str, tmp_path: Path
) -> None:
    call, pictures = calls[method], noise_pictures(3)
    with pytest.raises(ArgumentError, match="batch_size must be positive, got 0"):
        call(pictures, batch_size=0)
    with pytest.raises(ArgumentError, match=r"images must be a list .* write \[picture\]"):
        call(pictures[0])
    with pytest.raises(ArgumentError, match="images must be a list, got NoneType"):
        call(None)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"text")
    # Counted over all batches, not within one.
    with pytest.raises(BadImageError, match=r"^picture 3 \(.*broken\.png\): not_an_image$"):
        call([*pictures[:2], broken], batch_size=1)


@pytest.mark.parametrize("predictor", [Captioner, Matcher, Embedder, Answerer])
def test_all_are_opened_alike(
    predictor: Any, blip: Blip, question_model: QuestionModel, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    save_model(question_model if predictor is Answerer else blip, tokenizer, tmp_path)
    for precision, dtype in (
        ("float32", torch.float32),
        ("bfloat16", torch.bfloat16),
        ("auto", torch.float32),
        (torch.float64, torch.float64),
    ):
        assert predictor.load(tmp_path, "cpu", precision=precision).model.dtype == dtype
    assert predictor.load(str(tmp_path), torch.device("cpu")).model.dtype == torch.float32
    with pytest.warns(FutureWarning, match="dtype is now precision") as warned:
        assert predictor.load(tmp_path, dtype=torch.bfloat16).model.dtype == torch.bfloat16
    assert [warning.filename for warning in warned] == [__file__]
    with pytest.raises(ArgumentError, match=r"precision must be auto, .* got 'float8'"):
        predictor.load(tmp_path, precision="float8")
    with pytest.raises(ArgumentError, match=r"precision must be .* got torch\.int8"):
        predictor.load(tmp_path, precision=torch.int8)
    with pytest.raises(RangeError, match="device"):
        predictor.load(tmp_path, "gpu")
    with pytest.raises(UsageError, match="no such folder"):
        predictor.load(tmp_path / "none")


@pytest.mark.parametrize(
    ("predictor", "present", "message"),
    [
        (Captioner, "bidirectional", "has no text decoder, only a text encoder: it can match"),
        (Matcher, "causal", "has no text encoder, only a text decoder: it can write captions"),
        (
            Embedder,
            "causal",
            "has no text encoder, only a text decoder: .* nor embed",
        ),
    ],
)
def test_a_model_that_lacks_what_is_needed_is_refused_when_it_is_opened(
    predictor: Any, present: Any, message: str, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    text = replace(TINY.text, vocabulary_size=tokenizer.vocabulary_size)
    model = Blip(replace(TINY, text=text, modes=(present,)))
    save_model(model, tokenizer, tmp_path)
    with pytest.raises(UsageError, match=f"^{tmp_path}: this model {message}"):
        predictor.load(tmp_path)
    with pytest.raises(UsageError, match=f"^this model {message}"):
        predictor(model, tokenizer)


def with_a_file(path: Path) -> tuple[Any, Path]:
    """A picture, and another one in a file."""
    first, second = noise_pictures(2)
    second.save(path)
    return first, path


def spoil_last(module: torch.nn.Module, inputs: Any, states: torch.Tensor) -> torch.Tensor:
    spoilt = states.clone()
    spoilt[-1] = math.nan
    return spoilt


@pytest.mark.parametrize("kind", ["beam", "greedy"])
def test_broken_states_are_an_error_of_decoding_that_names_the_picture(
    tokenizer: Tokenizer, tmp_path: Path, kind: str
) -> None:
    decoding, message = DecodingConfig(kind=kind), r"^picture 2 \(.*b\.png\): the model gave"
    pictures = with_a_file(tmp_path / "b.png")
    captioner = Captioner(attentive_blip(tokenizer), tokenizer)
    answerer = Answerer(attentive_question_model(tokenizer), tokenizer)
    for predictor in (captioner, answerer):
        predictor.model.vision.register_forward_hook(spoil_last)
    with pytest.raises(NotFiniteError, match=message):
        captioner.caption(pictures, decoding)
    for batch_size in (1, 2):
        # Without a question nothing is read of a picture, so that nothing is wrong with it.
        with pytest.raises(NotFiniteError, match=message):
            answerer.answer(pictures, [[], ["what?"]], decoding, batch_size=batch_size)
        with pytest.raises(NotFiniteError, match=message):
            answerer.rank(pictures, [[], ["what?"]], ["yes"], batch_size=batch_size)


@torch.no_grad()
def test_a_broken_decoder_is_an_error_that_names_all_pictures(tokenizer: Tokenizer) -> None:
    captioner = Captioner(attentive_blip(tokenizer), tokenizer)
    for weight in captioner.model.language_head.parameters():
        weight.fill_(math.nan)
    with pytest.raises(NotFiniteError, match=r"^pictures 1 to 2: the model gave logits that"):
        captioner.caption(noise_pictures(3), batch_size=2)


@pytest.mark.parametrize("method", ["probability", "cosine", "scores"])
def test_a_broken_model_is_an_error_that_names_the_picture(
    tokenizer: Tokenizer, tmp_path: Path, method: str
) -> None:
    model = attentive_blip(tokenizer)
    matcher = Matcher(model, tokenizer)
    first, path = with_a_file(tmp_path / "b.png")
    model.vision.register_forward_hook(spoil_last)
    for batch_size in (1, 2):
        # Pictures without texts have no scores, so that nothing is wrong with them.
        with pytest.raises(NotFiniteError, match=r"^picture 2 \(.*b\.png\): the model's scores"):
            getattr(matcher, method)([first, path], [[], TEXTS], batch_size=batch_size)
    ((score,), (broken,)) = matcher.scores([first, path], [TEXTS[:1]] * 2, allow_nan=True)
    assert math.isfinite(score.probability)
    assert math.isfinite(score.cosine)
    assert math.isnan(broken.probability)


def test_the_keys_and_values_of_a_picture_are_computed_once_for_all_its_texts(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = attentive_blip(tokenizer)
    matcher = Matcher(model, tokenizer)
    project, projected = model.project_image, []

    def count(states: torch.Tensor, mode: Any) -> Any:
        projected.append(len(states))
        return project(states, mode)

    monkeypatch.setattr(model, "project_image", count)
    found = matcher.probability(noise_pictures(3), [TEXTS * 20, [], TEXTS[:1]], batch_size=3)
    assert projected == [3]
    assert [len(row) for row in found] == [len(TEXTS) * 20, 0, 1]


def test_batches_take_no_item_before_it_is_asked_for() -> None:
    taken: list[int] = []

    def items() -> Any:
        for number in range(5):
            taken.append(number)
            yield number

    found = batches(items(), 2)
    assert next(found) == [0, 1]
    assert taken == [0, 1]
    assert list(found) == [[2, 3], [4]]
