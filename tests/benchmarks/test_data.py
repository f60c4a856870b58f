"""The benchmark of reading runs, both read every sample, and its figures are what they say."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "data.py"


def test_the_last_line_holds_every_figure() -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, "--small", "--images", "12", "--rounds", "1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["same_samples"] is True
    assert list(result["ratios"]) == ["images_per_second"]
    assert set(result) >= {"commit", "machine", "date", "threads", "versions"}
    rates, seconds = result["images_per_second_and_core"], {"ours": 0.0, "peer": 0.0}
    for kind, images in (("web", 9), ("large", 3)):
        for side in seconds:
            (taken,) = rates[kind][f"{side}_seconds"]
            seconds[side] += taken
            assert rates[kind][side] == pytest.approx(images / taken, rel=0.02)
        value = rates[kind]["ours"] / rates[kind]["peer"]
        assert result["more_ratios"][kind] == pytest.approx(value, rel=0.05)
    whole = result["ratios"]["images_per_second"]
    assert whole == pytest.approx(seconds["peer"] / seconds["ours"], rel=0.02)
    assert f"{whole:.2f}" in done.stdout
