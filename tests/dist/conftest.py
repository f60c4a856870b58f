"""Shards and words that the processes of these tests share."""

from pathlib import Path

import numpy as np
import pytest

from blip.data.sample import Sample
from blip.data.tokenizer import Tokenizer
from blip.data.writers.shards import write_shards
from tests.support.dist_program import ANSWERS, PICTURES
from tests.support.tiny_data import WORDS, picture


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures with a text each, of many lengths, and with questions that differ in number."""
    rng = np.random.default_rng(0)
    samples = [
        Sample(
            f"p{number:02d}",
            picture(number),
            (" ".join(rng.choice(WORDS, rng.integers(1, 9))),),
            {
                "questions": [
                    {"text": " ".join(rng.choice(WORDS, 3 + asked)), "answers": answers}
                    for asked, answers in enumerate((["red", "blue"], ["big"])[: 1 + number % 2])
                ]
            },
            extension="png",
        )
        for number in range(PICTURES)
    ]
    folder = tmp_path_factory.mktemp("data") / "shards"
    write_shards(samples, folder, per_shard=5)
    (folder.parent / ANSWERS).write_text("red\nblue\nbig\nstar\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("words")
    Tokenizer.train([" ".join(WORDS)] * 3, vocabulary_size=200).save(folder)
    return folder
