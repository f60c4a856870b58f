"""An exported model scores texts as its checkpoint does."""

import pytest

from blip.export.matcher import OnnxMatcher
from blip.inference.matcher import Matcher
from tests.support.exported_models import Exported

TEXTS = [
    ["a red circle", "a", "two blue stars above"],
    [],
    ["red " * n + "circle" for n in range(20)],
    ["x"],
]


def test_scores_of_any_number_of_texts(exported: Exported) -> None:
    found, expected = (
        matcher.scores(exported.pictures, TEXTS, batch_size=3)
        for matcher in (OnnxMatcher.load(exported.folder), Matcher.load(exported.checkpoint))
    )
    assert [len(row) for row in found] == [3, 0, 20, 1]
    for row, same in zip(found, expected, strict=True):
        for one, other in zip(row, same, strict=True):
            assert one == pytest.approx(other, abs=1e-5)
    assert len({round(score.cosine, 4) for row in found for score in row}) > 10
