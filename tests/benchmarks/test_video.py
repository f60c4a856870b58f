"""The benchmark of videos runs, both read the same frames, and its figures follow."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "video.py"


def test_both_read_the_same_frames_and_every_figure_is_there() -> None:
    pytest.importorskip("cv2")
    done = subprocess.run(
        [sys.executable, SCRIPT, "--small", "--repeats", "1", "--threads", "1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["same_results"]
    assert set(result["ratios"]) == {
        "clip_vs_opencv",
        "720p_vs_opencv",
        "720p_many_keyframes_vs_opencv",
    }
    for rates in result["frames_per_second"].values():
        assert all(values[0] > 0 for values in rates.values())
