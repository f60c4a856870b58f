"""NLVR2's accuracy and consistency equal the official script's."""

import json

import pytest

from blip.metrics.nlvr import nlvr_scores
from tests.support.vectors import FOLDER, needs_vectors


@needs_vectors
def test_recorded_predictions_have_the_official_figures() -> None:
    recorded = json.loads((FOLDER / "metrics/nlvr.json").read_text(encoding="utf-8"))
    examples = recorded["examples"]
    found = nlvr_scores(
        [example["identifier"] for example in examples],
        [example["prediction"].lower() == "true" for example in examples],
        [example["label"].lower() == "true" for example in examples],
    )
    assert found["accuracy"] == pytest.approx(100 * recorded["accuracy"], abs=1e-9)
    assert found["consistency"] == pytest.approx(100 * recorded["consistency"], abs=1e-9)


def test_a_statement_is_consistent_where_all_its_pairs_are_right() -> None:
    identifiers = ["dev-1-0-0", "dev-1-1-0", "dev-1-0-1", "dev-2-0-0"]
    found = nlvr_scores(identifiers, [True, True, False, True], [True, False, False, True])
    # The statement dev-1-*-0 is wrong once; dev-1-*-1 and dev-2-*-0 are right.
    assert found == {"accuracy": 75.0, "consistency": pytest.approx(100 * 2 / 3)}


def test_an_identifier_of_another_form_is_named() -> None:
    with pytest.raises(ValueError, match=r"'dev-1'.*SPLIT-SET-PAIR-STATEMENT"):
        nlvr_scores(["dev-1"], [True], [True])


def test_a_missing_prediction_is_refused() -> None:
    with pytest.raises(ValueError, match="2 identifiers, but 1"):
        nlvr_scores(["dev-1-0-0", "dev-1-1-0"], [True], [True])
