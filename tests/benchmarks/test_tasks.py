"""The benchmark of the tasks runs, all ways agree in it, and its figures are those it promises."""

import json

import pytest

from tests.support.benchmarks import run_small


def test_all_ways_give_the_same_scores_and_every_figure_is_there() -> None:
    pytest.importorskip("transformers")
    printed = run_small("tasks", "--repeats", "1", "--threads", "1")
    result = json.loads(printed.splitlines()[-1])
    assert result["same_results"] == {"vqa": True, "visdial": True}
    rates = {name: values[0] for name, values in result["candidates_per_second"].items()}
    for ratio, ours, plain in (
        ("vqa_vs_k_forwards", "vqa", "vqa_k_forwards"),
        ("visdial_vs_each_alone", "visdial", "visdial_alone"),
    ):
        assert result["ratios"][ratio] == pytest.approx(rates[ours] / rates[plain], rel=0.02)
