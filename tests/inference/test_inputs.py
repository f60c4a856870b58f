"""What callers pass in: pictures in any form, and mistakes that end before any work is done."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from blip.data.images import BadImageError, decode_image
from blip.data.tokenizer import Tokenizer
from blip.data.transforms import eval_transform
from blip.errors import ArgumentError
from blip.generation.config import DecodingConfig
from blip.inference.captioner import Captioner
from blip.inference.matcher import Matcher
from blip.inference.pixels import NormalisedImage, to_pixels
from tests.support.pictures import encode, pixels
from tests.support.tiny import make_model
from tests.support.tiny_data import SENTENCE

CPU = torch.device("cpu")
SIZE = 32


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train([SENTENCE] * 3, vocabulary_size=200)


@pytest.fixture(scope="module")
def captioner(tokenizer: Tokenizer) -> Captioner:
    return Captioner(make_model(tokenizer), tokenizer)


@pytest.fixture(scope="module")
def matcher(tokenizer: Tokenizer) -> Matcher:
    return Matcher(make_model(tokenizer), tokenizer)


def test_pixels_are_those_of_the_file_in_every_form(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encode(Image.fromarray(pixels()), "JPEG", exif=exif)
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    upright = decode_image(content)
    expected = eval_transform(upright, SIZE)
    array = np.asarray(upright)
    forms: list[Any] = [
        *(Image.open(path), path, str(path), content, io.BytesIO(content)),
        *(array, array / 255, torch.from_numpy(array.copy()).permute(2, 0, 1)),
        *(torch.from_numpy(array / 255).permute(2, 0, 1), expected, NormalisedImage(expected)),
    ]
    for found in to_pixels(forms, SIZE, CPU):
        assert torch.equal(found, expected)


def test_ready_pixels_are_taken_as_they_are() -> None:
    grey = torch.full((3, SIZE, SIZE), 0.5)
    assert torch.equal(to_pixels([NormalisedImage(grey)], SIZE, CPU)[0], grey)
    # Without saying so, values within 0..1 are those of a picture.
    assert to_pixels([grey], SIZE, CPU)[0].mean() < 0.3
    for form in (NormalisedImage(torch.zeros(3, 8, 8)), torch.full((3, 8, 8), -1.0)):
        with pytest.raises(ArgumentError, match=r"are \(3, 32, 32\), got \(3, 8, 8\)"):
            to_pixels([form], SIZE, CPU)


def test_the_picture_that_is_wrong_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"text")
    fine = Image.new("RGB", (8, 8))
    with pytest.raises(BadImageError, match=r"^picture 2 \(.*a\.jpg\): not_an_image$"):
        to_pixels([fine, path], SIZE, CPU)
    with pytest.raises(ValueError, match=r"^picture 1: a picture is a path, .* got int$"):
        to_pixels([3], SIZE, CPU)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a text"], r"texts of picture 1 must be a list, got the text 'a text'; write \[\['a"),
        ("a text", "texts must hold a list for each picture, got a single text"),
        ([["a"], ["b"]], "1 pictures need as many lists, got 2"),
        ([[None]], r"texts of picture 1 must be texts, got None \(NoneType\)"),
        ([["\udce9"]], "texts of picture 1 must be text in UTF-8"),
        ([3], "texts of picture 1 must be a list, got int"),
        (None, "texts must be a list, got NoneType"),
    ],
)
@pytest.mark.parametrize("method", ["scores", "probability", "cosine"])
def test_texts_that_are_not_lists_are_a_value_error(
    matcher: Matcher, method: str, texts: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        getattr(matcher, method)([Image.new("RGB", (8, 8))], texts)
    assert isinstance(caught.value, ArgumentError)


@pytest.mark.parametrize(
    "single",
    [
        Image.new("RGB", (8, 8)),
        "a.jpg",
        Path("a.jpg"),
        b"bytes",
        np.zeros((8, 8, 3), np.uint8),
        torch.zeros(3, 8, 8),
        io.BytesIO(),
        None,
    ],
    ids=lambda single: type(single).__name__,
)
def test_a_single_picture_is_a_value_error(
    captioner: Captioner, matcher: Matcher, single: Any
) -> None:
    with pytest.raises(ValueError, match="images must be a list"):
        captioner.caption(single)
    with pytest.raises(ValueError, match="images must be a list"):
        matcher.scores(single, [["a"]])


def test_batches_of_pictures_in_one_array(captioner: Captioner) -> None:
    array = np.stack([pixels(seed=seed) for seed in range(3)])
    expected = captioner.caption([Image.fromarray(one) for one in array])
    assert captioner.caption(array) == expected
    assert captioner.caption(torch.from_numpy(array).permute(0, 3, 1, 2), batch_size=2) == expected
    assert captioner.caption(Image.fromarray(one) for one in array) == expected


def test_nothing_gives_nothing(captioner: Captioner, matcher: Matcher) -> None:
    assert captioner.caption([]) == []
    assert captioner.scored_captions([]) == []
    assert matcher.scores([], []) == []
    assert matcher.scores([np.zeros((8, 8), np.uint8)], [[]]) == [[]]


def test_the_name_of_a_kind_of_decoding_is_a_value_error(captioner: Captioner) -> None:
    with pytest.raises(ArgumentError, match=r"decoding must be a blip.DecodingConfig, got 'beam'"):
        captioner.caption([], "beam")  # pyright: ignore


def test_numbers_that_cannot_work_are_value_errors(captioner: Captioner, matcher: Matcher) -> None:
    images = [Image.new("RGB", (8, 8))]
    long = DecodingConfig(prompt=SENTENCE, max_length=12)
    for decoding, message in (
        (long, r"prompt .* has \d+ tokens, the start token included; max_length must be greater"),
        (DecodingConfig(max_length=33), "max_length"),
    ):
        with pytest.raises(ValueError, match=message):
            captioner.caption(images, decoding)
    for batch_size in (0, -1):
        with pytest.raises(ValueError, match=f"batch_size must be positive, got {batch_size}"):
            captioner.caption(images, batch_size=batch_size)
        with pytest.raises(ValueError, match="batch_size must be positive"):
            matcher.scores(images, [["a"]], batch_size=batch_size)
    for count, message in ((0, "count must be positive"), (4, r"must not be above beams \(3\)")):
        with pytest.raises(ValueError, match=message):
            captioner.captions(images, count)
    with pytest.raises(ValueError, match="1 pictures need as many seeds, got 2"):
        captioner.caption(images, seeds=[1, 2])
    with pytest.raises(ValueError, match="allowed: text in UTF-8"):
        captioner.caption(images, DecodingConfig(prompt="\udce9"))
