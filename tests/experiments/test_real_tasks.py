"""The experiment on real data: what is held out, what belongs together, and what chance gives."""

import itertools
import os
from pathlib import Path

import numpy as np
import pytest

from blip.data.sample import Sample
from experiments.blind import read_all
from experiments.guesses import list_questions, list_statements, predict_answers
from experiments.real_tasks.data import group_numbers, number_of, write_daquar, write_nlvr1
from experiments.real_tasks.scored import find_differences, score_answers, score_labels
from experiments.real_tasks.zero_shot import chance

SHARED = Path(os.environ.get("BLIP_SHARED", "../shared"))


def asking(*answers: str) -> Sample:
    asked = [{"text": f"what is {n}?", "answers": [one]} for n, one in enumerate(answers)]
    return Sample("s", b"picture", meta={"questions": asked})


def stating(left: bytes, *identifiers: str) -> Sample:
    stated = [{"identifier": one, "text": "t", "label": True} for one in identifiers]
    return Sample("s", left, meta={"statements": stated}, more_images=(b"right",))


def test_questions_of_an_image_are_one_group() -> None:
    test = [asking("a", "b"), asking("c")]
    assert score_answers(test, ["a", "c", "c"]) == [[1.0, 0.0], [1.0]]
    with pytest.raises(ValueError, match="more than there are questions"):
        score_answers(test, ["a"] * 4)
    # Without types, the first two words stand for them.
    predicted = predict_answers([asking("x"), asking("y"), asking("y")], test)
    assert predicted["most_frequent_of_type"] == ["y"] * 3


def test_statements_of_a_number_or_about_equal_pictures_are_one_group() -> None:
    samples = [
        stating(b"a", "dev-7-0-0"),
        stating(b"b", "dev-8-0-0", "hidden-30-0-0"),
        stating(b"c", "dev-7-1-3"),
        stating(b"d", "hidden-30-1-0", "train-9-0-0"),
        stating(b"d", "train-2-0-0"),
    ]
    groups = group_numbers(samples)
    assert groups == {
        "dev-7": "dev-7",
        "dev-8": "train-2",
        "hidden-30": "train-2",
        "train-9": "train-2",
        "train-2": "train-2",
    }
    right = [True, False, True, False, True, True, True]
    assert score_labels(samples, right) == [[1.0, 0.0], [0.0, 1.0, 1.0, 1.0, 1.0]]


def test_differences_are_of_the_same_samples() -> None:
    values = np.random.default_rng(0).integers(0, 2, (60, 4)).astype(float)
    better = np.minimum(values + (np.arange(4) == 0), 1.0)
    found = find_differences({"images": better.tolist(), "blind": values.tolist()}, "images")
    assert found["blind"][0] == pytest.approx(100 * values.mean())
    gained = found["images less blind"]
    assert gained[0] == pytest.approx(100 * (better - values).mean())
    assert 0 < gained[1] < gained[0] < gained[2]
    # As the same images come and go in both, it is surer than either.
    assert gained[2] - gained[1] < found["blind"][2] - found["blind"][1]


def test_chance_is_that_of_every_order() -> None:
    texts = [1, 2]
    orders = list(itertools.permutations([0, 1, 1]))
    first = [sum(order[0] == video for order in orders) / len(orders) for video in (0, 1)]
    found = chance([*texts])
    assert found["tr1"] == pytest.approx(100 * sum(first) / 2)
    assert (found["vr1"], found["vr5"]) == (50.0, 100.0)
    assert found["tr5"] == 100.0


def test_what_is_held_out_of_the_real_files(tmp_path: Path) -> None:
    if not (SHARED / "daquar").is_dir():
        pytest.skip(f"{SHARED / 'daquar'} is absent; set BLIP_SHARED")
    write_daquar(SHARED / "daquar", tmp_path / "daquar")
    training, test = (read_all(tmp_path / "daquar" / split) for split in ("training", "test"))
    assert (len(list_questions(training)), len(list_questions(test))) == (6123, 672)
    assert all(len(one.answers) == 1 for one in list_questions(training))
    assert "table, chair" in (tmp_path / "daquar/answers.txt").read_text().splitlines()
    write_nlvr1(SHARED / "nlvr1", tmp_path / "nlvr1")
    training, test = (read_all(tmp_path / "nlvr1" / split) for split in ("training", "test"))
    assert len(list_statements(training)) + len(list_statements(test)) == 11256 + 588
    for share in (
        lambda samples: {number_of(one) for one in list_statements(samples)},
        lambda samples: {(one.image, *one.more_images) for one in samples},
    ):
        assert not share(training) & share(test)
    held_out = len(list_statements(test))
    assert 588 + 1000 < held_out < 588 + 1600
