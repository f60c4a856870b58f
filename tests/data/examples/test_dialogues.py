"""Dialogues become examples with candidates, and sets of dialogues to evaluate with."""

from pathlib import Path

import numpy as np
import pytest

from blip.data.config import DataConfig, ImageConfig, SourceConfig
from blip.data.dialogues import Dialogue, Round
from blip.data.examples.dialogue_set import DialogueSet
from blip.data.examples.dialogues import DialogueExamples
from blip.data.sample import OrderedSample, Sample
from blip.data.tokenizer import Tokenizer
from tests.support.pictures import photo
from tests.support.tiny_data import tokenizer
from tests.support.visdial import official_dialog, stand_in_pictures, write_official

__all__ = ["tokenizer"]


@pytest.fixture
def examples(tokenizer: Tokenizer) -> DialogueExamples:
    image = ImageConfig(size=32, crop_scale=(1.0, 1.0), flip=False, augment_ops=0)
    source = SourceConfig(name="s", shards=("unused",))
    config = DataConfig(sources=(source,), image=image, batch_size=2)
    return DialogueExamples(config, tokenizer, negatives=10)


def with_options(*options: str) -> Sample:
    """A dialogue of one round, whose second option is the answer."""
    one = Round("is it red?", options[1], options, 1)
    return Sample("0", photo(0), meta={"dialogue": Dialogue("a cat", (one,)).to_json()})


def test_options_that_read_like_the_answer_are_not_false(examples: DialogueExamples) -> None:
    selected = examples.select(with_options("Yes.", "yes", "no", "YES", "two"))
    assert selected.sample is not None
    made = examples.make(OrderedSample(selected.sample, "", 0, 0), np.random.default_rng(0))
    assert made.candidates[0] == "yes"
    assert sorted(made.candidates[1:]) == ["no", "two"]


def test_a_round_without_a_false_option_teaches_nothing(examples: DialogueExamples) -> None:
    selected = examples.select(with_options("Yes.", "yes"))
    assert selected.sample is None
    assert selected.fault == "missing_answer: no round has an answer and a false option"


def test_an_image_of_two_files_counts_once(tmp_path: Path) -> None:
    first = write_official(tmp_path, [official_dialog(42), official_dialog(7)], "first")
    second = write_official(tmp_path, [official_dialog(42), official_dialog(9)], "second")
    stand_in_pictures(tmp_path, [42, 7, 9])
    data = DialogueSet([str(first), str(second)])
    assert [picture.image_id for picture in data.pictures] == [42, 7, 9]
    assert dict(data.bad.counts) == {"duplicate_image_id": 1}
    assert data.counts()["rounds"] == 9
    assert len(DialogueSet([str(first), str(second)], most=3)) == 3
