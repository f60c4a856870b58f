"""The benchmark of re-ranking runs, both agree in it, and its figures are the ones it promises."""

import json

import pytest

from tests.support.benchmarks import run_small


def test_both_give_the_same_probabilities_and_every_figure_is_there() -> None:
    pytest.importorskip("transformers")
    printed = run_small("rerank", "--repeats", "1", "--threads", "1", "--growth")
    result = json.loads(printed.splitlines()[-1])
    assert result["same_results"]
    rates = {name: values[0] for name, values in result["pairs_per_second"].items()}
    ratio = result["ratios"]["rerank_vs_huggingface"]
    assert ratio == pytest.approx(rates["ours"] / rates["peer"], rel=0.02)
    assert f"{ratio:.2f}" in printed
    assert [row["images"] for row in result["growth"]] == [100, 400]
    assert [row["texts"] for row in result["growth"]] == [500, 2000]
    for row in result["growth"]:
        assert row["peak_gigabytes"] >= row["peak_gigabytes_before"] > 0
