"""The benchmark of the whole job runs, and its last line has what it promises."""

import json

import pytest

from tests.support.benchmarks import run_small


def test_it_runs_and_says_what_it_promises():
    pytest.importorskip("transformers")
    printed = run_small(
        "capfilt", "--images", "5", "--repeats", "1", "--precision", "float32", "bfloat16"
    )
    written = json.loads(printed.splitlines()[-1])
    assert list(written["ratios"]) == ["capfilt"]
    assert written["ratios"]["capfilt"] == written["more_ratios"]["workers_2_float32_over_simple"]
    for workers in ("workers_1", "workers_2"):
        figures = written["images_per_second"][workers]
        assert list(figures) == ["float32", "bfloat16", "simple", "careful", "careful_bfloat16"]
        assert all(one["best"] > 0 for one in figures.values())
        assert 0 <= written["share_not_in_models"][f"{workers}_bfloat16"] < 1
    assert {"commit", "machine", "date", "versions", "gbyte_per_second"} <= written.keys()
