"""Beside recall: how often the first result is true, by the truth of the built-in scenes."""

import json
from pathlib import Path

import numpy as np
import pytest

from blip.cli.main import main
from blip.data.examples.evaluation_set import EvaluationSet
from blip.data.sample import Sample
from blip.data.scenes.scene import Scene, Thing
from blip.data.writers.shards import write_shards
from blip.evaluation.ranking import Ranking
from blip.evaluation.retrieval import share_true, truth_of
from blip.metrics.retrieval import RankedScores, first_columns
from tests.support.pictures import photo
from tests.support.ranked_scores import rank_all
from tests.support.saved_models import save_tiny

CIRCLE = Thing("circle", "red", "large", "solid", 0.2, 0.5)
SCENES = (
    Scene("white", (CIRCLE,)),
    Scene("white", (CIRCLE, Thing("star", "blue", "small", "solid", 0.8, 0.5))),
)
TEXTS = ("a red circle", "a blue star")


@pytest.fixture
def data(tmp_path: Path) -> EvaluationSet:
    samples = [
        Sample(f"k{n}", photo(n), (text,), {"scene": scene.to_json()})
        for n, (text, scene) in enumerate(zip(TEXTS, SCENES, strict=True))
    ]
    write_shards(samples, tmp_path)
    return EvaluationSet([str(tmp_path)], 32)


def ranking(image_to_text: list[list[float]], text_to_image: list[list[float]]) -> Ranking:
    scores = [rank_all(np.array(one)) for one in (image_to_text, text_to_image)]
    return Ranking(*scores, [[0], [1]])


@pytest.mark.parametrize(
    ("image_to_text", "text_to_image", "expected"),
    [
        # The other image's text, which is true of both: R@1 would count neither.
        ([[2, 1], [2, 1]], [[1, 2], [1, 2]], (100.0, 100.0)),
        ([[1, 2], [1, 2]], [[2, 1], [2, 1]], (50.0, 50.0)),
        # Equal scores: half of the orders have the true one first.
        ([[1, 1], [1, 1]], [[1, 1], [1, 1]], (75.0, 75.0)),
        ([[np.nan, np.nan], [2, 1]], [[2, np.nan], [np.nan, 1]], (50.0, 100.0)),
    ],
)
def test_true_results_count_whosever_they_are(
    data: EvaluationSet,
    image_to_text: list[list[float]],
    text_to_image: list[list[float]],
    expected: tuple[float, float],
) -> None:
    found = share_true(ranking(image_to_text, text_to_image), truth_of(data))
    assert (found["true_first_text"], found["true_first_image"]) == expected


@pytest.mark.parametrize(
    ("origin", "score"), [("trained", "log_probability"), ("released", "logit")]
)
def test_the_origin_of_a_checkpoint_decides_how_it_is_ranked(
    tmp_path: Path, data: EvaluationSet, capsys: pytest.CaptureFixture[str], origin: str, score: str
) -> None:
    sizes = save_tiny(tmp_path / "model") / "config.json"
    sizes.write_text(json.dumps({**json.loads(sizes.read_text()), "origin": origin}))
    given = ["evaluate", str(tmp_path / "model"), "--data", str(tmp_path), "--task", "retrieval"]
    assert main([*given, "--out", str(tmp_path / "out")]) == 0
    result = json.loads((tmp_path / "out/evaluation.json").read_text(encoding="utf-8"))
    assert result["retrieval_score"] == score
    assert result["retrieval"] == result["retrieval_by_score"][score]
    assert result["images"] == len(data)
    assert f"and ITM's {score.replace('_', '-')} (--score)" in capsys.readouterr().err


def test_without_scenes_nothing_is_known(data: EvaluationSet) -> None:
    data.metas[1] = {}
    found = share_true(ranking([[1, 2], [1, 2]], [[1, 2], [1, 2]]), truth_of(data))
    assert found == {"true_first_text": None, "true_first_image": None}


def test_first_columns_are_the_best_candidates_alone() -> None:
    scores = np.array([0.5, 2.0, 2.0, -np.inf, np.nan])
    ranked = RankedScores(np.array([0, 3, 3, 5]), np.array([1, 4, 7, 0, 2]), scores, 9)
    assert [found.tolist() for found in first_columns(ranked)] == [[4, 7], [], []]
