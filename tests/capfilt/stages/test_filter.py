"""Texts get rounded scores, in one call, or a reason why they have none."""

import pytest
import torch

from blip.capfilt.models.protocols import Score
from blip.capfilt.stages.filter import begin_to_score
from tests.support.capfilt import FakeFilter


def square(colour: int, size: int) -> torch.Tensor:
    image = torch.zeros(3, size, size)
    image[colour] = 1
    return image


def test_all_texts_of_all_images_are_scored_in_one_call():
    calls = []

    class Counting(FakeFilter):
        def score(self, images, texts):
            calls.append([list(row) for row in texts])
            return super().score(images, texts)

    images = [square(0, 16), square(1, 16), square(2, 16)]
    texts = [["Red!", "a BLUE one"], ["", "  ...  "], ["blue", "", "red"]]
    verdicts = begin_to_score(Counting(), images, texts)()
    assert calls == [[["red", "a blue one"], ["blue", "red"]]]
    assert [[v.reason for v in row] for row in verdicts] == [
        ["match", "match"],
        ["empty_text", "empty_text"],
        ["match", "empty_text", "match"],
    ]
    assert verdicts[0][0].itm_score == 0.9
    assert verdicts[1][0].itm_score is None


@pytest.mark.parametrize(
    ("itm", "reason", "kept_score"),
    [
        (0.5, "match", 0.5),
        (0.4999999, "match", 0.5),
        (0.499999, "match", 0.499999),
        (float("nan"), "score_not_finite", None),
    ],
)
def test_scores_are_rounded_before_anything_is_decided(itm, reason, kept_score):
    class Fixed(FakeFilter):
        def score(self, images, texts):
            return [[Score(itm, 0.0)]]

    [[verdict]] = begin_to_score(Fixed(), [square(0, 16)], [["red"]])()
    assert (verdict.reason, verdict.itm_score) == (reason, kept_score)
