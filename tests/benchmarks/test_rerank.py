"""The benchmark of re-ranking runs, both agree in it, and its figures are the ones it promises."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "rerank.py"


def test_both_give_the_same_probabilities_and_every_figure_is_there() -> None:
    pytest.importorskip("transformers")
    done = subprocess.run(
        [sys.executable, SCRIPT, "--small", "--repeats", "1", "--threads", "1", "--growth"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["same_results"]
    rates = {name: values[0] for name, values in result["pairs_per_second"].items()}
    ratio = result["ratios"]["rerank_vs_huggingface"]
    assert ratio == pytest.approx(rates["ours"] / rates["peer"], rel=0.02)
    assert f"{ratio:.2f}" in done.stdout
    assert [row["images"] for row in result["growth"]] == [100, 400]
    assert [row["texts"] for row in result["growth"]] == [500, 2000]
    for row in result["growth"]:
        assert row["peak_gigabytes"] >= row["peak_gigabytes_before"] > 0
