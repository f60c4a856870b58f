"""A written answer is right however its tokens are spaced, and only if the words are the same."""

import pytest

from blip.data.tokenizer import Tokenizer
from blip.evaluation.written import is_one_of


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(["a t-shirt at 7:30, 1,000 km/h, don't go"] * 3, vocabulary_size=120)


@pytest.mark.parametrize("true", ["T-shirt", "7:30", "1,000", "km/h", "don't", " a  t-shirt "])
def test_true_answers_are_spaced_as_the_decoder_spaces_them(tokenizer, true):
    written = tokenizer.decode(tokenizer.encode_prompt(true))
    assert is_one_of(tokenizer, written, ["go", true])
    assert is_one_of(tokenizer, true, [true])


def test_other_answers_are_wrong(tokenizer):
    assert not is_one_of(tokenizer, "t - shirt", ["shirt", "t"])
    assert not is_one_of(tokenizer, "go", [])


def test_words_that_the_tokenizer_lacks_are_compared_letter_by_letter(tokenizer):
    assert not is_one_of(tokenizer, "\u00e6", ["\u00f8"])
    assert not is_one_of(tokenizer, "", ["\u00f8"])
    assert is_one_of(tokenizer, "\u00d8", ["\u00f8"])
