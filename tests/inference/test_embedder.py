"""Features give the matcher's cosines in any batch; a stream reads one batch at a time."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from blip import Embedder, Matcher
from blip.data.tokenizer import Tokenizer
from blip.errors import ArgumentError, NotFiniteError
from blip.model.blip import Blip
from tests.support.attentive_models import TEXTS, attentive_blip, noise_pictures
from tests.support.tiny_data import SENTENCE


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train([SENTENCE] * 3, vocabulary_size=200)


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> Blip:
    return attentive_blip(tokenizer)


@pytest.fixture(scope="module")
def embedder(model: Blip, tokenizer: Tokenizer) -> Embedder:
    return Embedder(model, tokenizer)


def test_inner_products_are_the_cosines_of_the_matcher(
    embedder: Embedder, model: Blip, tokenizer: Tokenizer
) -> None:
    pictures = noise_pictures(5)
    # Some to be cleaned, one to be cut, one of which nothing is left.
    texts = [*TEXTS, "A Red: circle!", "a red circle " * 30, "..."]
    expected = Matcher(model, tokenizer).cosine(pictures, [texts] * len(pictures))
    images = embedder.embed_images(pictures, batch_size=2)
    found = images @ embedder.embed_texts(texts, batch_size=3).T
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert len({round(float(number), 5) for number in found.flat}) > len(texts)


def test_features_are_unit_vectors_in_float32(model: Blip, tokenizer: Tokenizer) -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        embedder = Embedder(attentive_blip(tokenizer).to(dtype), tokenizer)
        for features in (embedder.embed_images(noise_pictures(3)), embedder.embed_texts(TEXTS[:3])):
            assert features.shape == (3, embedder.projection)
            assert features.dtype == np.float32
            assert features.flags.c_contiguous
            np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-6)


def test_any_iterable_in_any_batch_gives_the_same(embedder: Embedder) -> None:
    pictures = noise_pictures(5)
    expected = embedder.embed_images(pictures)
    array = np.stack([np.asarray(picture) for picture in pictures])
    for images in (array, iter(pictures), tuple(pictures), (picture for picture in pictures)):
        found = embedder.embed_images(images, batch_size=2)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    texts = embedder.embed_texts(TEXTS)
    found = embedder.embed_texts(iter(TEXTS), batch_size=1)
    np.testing.assert_allclose(found, texts, rtol=0, atol=1e-6)
    parts = list(embedder.stream_texts(TEXTS, batch_size=3))
    assert [len(part) for part in parts] == [3, 1]
    np.testing.assert_allclose(np.concatenate(parts), texts, rtol=0, atol=1e-6)


def test_nothing_gives_no_rows(embedder: Embedder) -> None:
    for found in (embedder.embed_images([]), embedder.embed_texts(iter([]))):
        assert found.shape == (0, embedder.projection)
        assert found.dtype == np.float32
    assert list(embedder.stream_images([])) == []


def test_a_stream_holds_the_pictures_of_one_batch(embedder: Embedder) -> None:
    opened: list[int] = []

    def pictures() -> Iterator[Image.Image]:
        for number in range(1_000_000):
            opened.append(number)
            yield noise_pictures(1)[0]

    stream = embedder.stream_images(pictures(), batch_size=3)
    assert opened == []
    for batch in range(1, 4):
        assert next(stream).shape == (3, embedder.projection)
        assert len(opened) == 3 * batch


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("a red circle", "texts must be a list of texts, got the single text 'a red circle'"),
        (None, "texts must be a list, got NoneType"),
        ([3], r"texts must be texts, got 3 \(int\)"),
        ([["a"]], r"texts must be texts, got \['a'\] \(list\)"),
        (["\udce9"], "texts must be text in UTF-8"),
    ],
)
def test_what_is_not_a_list_of_texts_is_refused(
    embedder: Embedder, texts: Any, message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        embedder.embed_texts(texts)


def test_mistakes_are_refused_before_the_first_batch_is_asked_for(embedder: Embedder) -> None:
    with pytest.raises(ArgumentError, match="a single Image"):
        embedder.stream_images(noise_pictures(1)[0])
    with pytest.raises(ArgumentError, match="single text"):
        embedder.stream_texts("a")
    with pytest.raises(ArgumentError, match="batch_size must be positive"):
        embedder.stream_texts(["a"], batch_size=0)


def test_a_broken_model_is_an_error_that_names_picture_or_text(tokenizer: Tokenizer) -> None:
    model = attentive_blip(tokenizer)
    embedder = Embedder(model, tokenizer)
    with torch.no_grad():
        model.text_projection.bias.fill_(torch.nan)
    assert embedder.embed_images(noise_pictures(1)).shape == (1, embedder.projection)
    with pytest.raises(NotFiniteError, match=r"^text 1: the model's features are NaN or infinite"):
        embedder.embed_texts(TEXTS)

    def spoil(module: torch.nn.Module, inputs: Any, states: torch.Tensor) -> torch.Tensor:
        return states / 0

    stream = embedder.stream_images(noise_pictures(2), batch_size=1)
    next(stream)
    model.vision.register_forward_hook(spoil)
    with pytest.raises(NotFiniteError, match=r"^picture 2: the model's features are NaN"):
        next(stream)
