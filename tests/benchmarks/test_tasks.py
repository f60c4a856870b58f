"""The benchmark of the tasks runs, all ways agree in it, and its figures are those it promises."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "tasks.py"


def test_all_ways_give_the_same_scores_and_every_figure_is_there() -> None:
    pytest.importorskip("transformers")
    done = subprocess.run(
        [sys.executable, SCRIPT, "--small", "--repeats", "1", "--threads", "1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["same_results"] == {"vqa": True, "visdial": True}
    rates = {name: values[0] for name, values in result["candidates_per_second"].items()}
    for ratio, ours, plain in (
        ("vqa_vs_k_forwards", "vqa", "vqa_k_forwards"),
        ("visdial_vs_each_alone", "visdial", "visdial_alone"),
    ):
        assert result["ratios"][ratio] == pytest.approx(rates[ours] / rates[plain], rel=0.02)
