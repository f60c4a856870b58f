"""What the comparison counts is what it says."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from blip.capfilt.filters.config import FilterRules
from blip.data.scenes.config import ScenesConfig
from blip.data.scenes.write import draw_sample
from tests.support.records import decide_records, encode_ledger, record

PATH = Path(__file__).parents[2] / "experiments/capfilt/compare.py"


@pytest.fixture(scope="module")
def compare():
    spec = importlib.util.spec_from_file_location("compare", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_quality_by_hand(compare):
    scores, right = np.array([0.9, 0.6, 0.3, -1.0]), np.array([True, False, True, True])
    found = compare.quality(scores, right, 0.5)
    assert found["precision"] == 0.5
    assert found["recall"] == pytest.approx(1 / 3)
    assert (found["dropped"], found["right"], found["texts"]) == (0.5, 0.75, 4)


def test_texts_are_judged_by_their_scenes_and_the_best_of_an_image_is_found(compare, tmp_path):
    _, sample = draw_sample(ScenesConfig(), "web", 0)
    _, human = draw_sample(ScenesConfig(seed=0), "human", 0)
    metas = {"a": sample.meta, "b": {**human.meta, "truth": {"matches": True, "noise": None}}}
    rows = [
        record("a", "web", 0, sample.texts[0], 0.4),
        record("b", "web", 0, human.texts[0], 0.8),
        record("b", "synthetic", 0, "IMG 2041", 0.9),
        record("b", "synthetic", 1, human.texts[1], 0.95),
        record("b", "synthetic", 2, human.texts[1], 0.1),
    ]
    (tmp_path / "ledger").mkdir()
    decided = decide_records(rows, 0.0, FilterRules())
    (tmp_path / "ledger/s.parquet").write_bytes(encode_ledger(decided))
    found = compare.count(tmp_path, metas)
    assert (found["images"], found["different"]) == (2, 2)
    at = compare.THRESHOLDS.index(0.25)
    synthetic = found["synthetic"][at]
    assert synthetic["right"] == pytest.approx(2 / 3)
    assert (synthetic["precision"], synthetic["recall"]) == (0.5, 0.5)
    assert (found["synthetic_best"]["texts"], found["synthetic_best"]["precision"]) == (1, 1.0)
    assert found["web"][at]["texts"] == 2
    tables = "\n".join(compare.describe([{v.name: found for v in compare.VARIANTS}] * 2))
    assert "| nucleus, coupled | 2 | 66.7 (66.7..66.7) |" in tables
