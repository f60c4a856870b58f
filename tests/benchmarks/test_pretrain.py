"""The benchmark of training runs, its contenders agree, and its figures are those it promises."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "pretrain.py"
CONTENDERS = ["ours", "textbook", "huggingface"]


def test_the_last_line_holds_every_figure() -> None:
    pytest.importorskip("transformers")
    done = subprocess.run(
        [sys.executable, SCRIPT, "--small", "--rounds", "1", "--steps", "1", "--threads", "1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["same_losses"] is True
    assert list(result["ratios"]) == ["step_vs_huggingface", "step_vs_textbook"]
    assert set(result) >= {"commit", "machine", "date", "device", "dtype", "threads", "versions"}
    assert list(result["contenders"]) == CONTENDERS
    ours = result["contenders"]["ours"]
    for name, told in result["contenders"].items():
        assert told["batch"] == 8
        assert len(told["seconds"]) == 1
        assert told["peak_gbyte"] > 0
        assert 0 < told["utilisation"]["measured"] < 1
        assert told["samples_per_second"] == pytest.approx(8 / told["seconds"][0], rel=0.02)
        assert name in done.stdout
        if name != "ours":
            expected = ours["samples_per_second"] / told["samples_per_second"]
            assert result["ratios"][f"step_vs_{name}"] == pytest.approx(expected, rel=0.05)
