"""Shards and words that the processes of these tests share."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blip.data.sample import Sample
from blip.data.tokenizer import Tokenizer
from blip.data.writers.shards import write_shards
from tests.support.dist_program import ANSWERS, PICTURES
from tests.support.tiny_data import WORDS, picture


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures with a text each, of many lengths, and with questions and rounds of a dialogue.

    Of these there are one or two, and options differ in number.
    """
    rng = np.random.default_rng(0)
    samples = [
        Sample(
            f"p{number:02d}",
            picture(number),
            (" ".join(rng.choice(WORDS, rng.integers(1, 9))),),
            {
                "dialogue": make_dialogue(number),
                "questions": [
                    {"text": " ".join(rng.choice(WORDS, 3 + asked)), "answers": answers}
                    for asked, answers in enumerate((["red", "blue"], ["big"])[: 1 + number % 2])
                ],
            },
            extension="png",
        )
        for number in range(PICTURES)
    ]
    folder = tmp_path_factory.mktemp("data") / "shards"
    write_shards(samples, folder, per_shard=5)
    (folder.parent / ANSWERS).write_text("red\nblue\nbig\nstar\n", encoding="utf-8")
    return folder


def make_dialogue(number: int) -> dict[str, Any]:
    rng = np.random.default_rng(number)
    rounds: list[dict[str, Any]] = []
    for _ in range(1 + number % 2):
        options = [str(word) for word in rng.permutation(WORDS)[: rng.integers(2, 7)]]
        answer = int(rng.integers(len(options)))
        rounds.append(
            {
                "question": " ".join(rng.choice(WORDS, rng.integers(2, 6))),
                "answer": options[answer],
                "options": options,
                "answer_index": answer,
            }
        )
    return {"caption": " ".join(rng.choice(WORDS, 3)), "rounds": rounds}


@pytest.fixture(scope="session")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("words")
    Tokenizer.train([" ".join(WORDS)] * 3, vocabulary_size=200).save(folder)
    return folder
