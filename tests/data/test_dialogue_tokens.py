"""Dialogues as tokens: what stands where, and what is left out of long ones."""

import pytest

from blip.data.dialogue_tokens import ask, encode_answers, encode_turns
from blip.data.dialogues import Turn
from blip.data.tokenizer import Tokenizer

WORDS = "is it red yes no how many two three what a cat ?"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train([WORDS] * 3, vocabulary_size=120)


def read(tokenizer: Tokenizer, turn: Turn, longest: int = 50) -> str:
    ids, visible = encode_turns(tokenizer, [turn], longest)
    tokens = [tokenizer.backend.id_to_token(int(i)) for i in ids[0][visible[0]]]
    return " ".join(tokens)


def test_rounds_end_with_separators_and_the_question_comes_last(tokenizer: Tokenizer) -> None:
    turn = Turn("a cat", (("Is it red", "Yes."), ("how many?", "two")), "what is it")
    expected = "[CLS] is it red ? yes [SEP] how many ? two [SEP] what is it ? [SEP]"
    assert read(tokenizer, turn) == expected
    assert read(tokenizer, Turn("", (), "what is it?")) == "[CLS] what is it ? [SEP]"


def test_the_oldest_rounds_of_a_long_dialogue_go_first(tokenizer: Tokenizer) -> None:
    turn = Turn("a cat", (("is it red", "yes"), ("how many", "two")), "what is it")
    whole = 17
    assert len(read(tokenizer, turn, whole).split()) == whole
    newest = "[CLS] how many ? two [SEP] what is it ? [SEP]"
    assert read(tokenizer, turn, whole - 1) == newest
    assert read(tokenizer, turn, 11) == newest
    assert read(tokenizer, turn, 10) == "[CLS] what is it ? [SEP]"
    assert read(tokenizer, turn, 4) == "[CLS] what is [SEP]"


def test_questions_end_with_one_mark_and_answers_are_cleaned(tokenizer: Tokenizer) -> None:
    assert [ask(text) for text in ("Is it red", "is it red?", " is it red ? ")] == [
        "is it red?"
    ] * 3
    ids, _ = encode_answers(tokenizer, ["Yes!", "two"], 32)
    assert ids.shape == (2, 3)
    assert ids[0, 0] == tokenizer.cls_id
