"""The benchmark of videos runs, both read the same frames, and its figures follow."""

import json

import pytest

from tests.support.benchmarks import run_small


def test_both_read_the_same_frames_and_every_figure_is_there() -> None:
    pytest.importorskip("cv2")
    printed = run_small("video", "--repeats", "1", "--threads", "1")
    result = json.loads(printed.splitlines()[-1])
    assert result["same_results"]
    assert set(result["ratios"]) == {
        "clip_vs_opencv",
        "720p_vs_opencv",
        "720p_many_keyframes_vs_opencv",
    }
    for name, rates in result["frames_per_second"].items():
        (ours,), (grab,), (seek,) = rates.values()
        ratio = result["ratios"][f"{name}_vs_opencv"]
        assert ratio == pytest.approx(ours / max(grab, seek), rel=0.02)
        assert all(values[0] > 0 for values in rates.values())
