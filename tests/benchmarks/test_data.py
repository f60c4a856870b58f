"""The benchmark of reading runs, both read every sample, and its figures are what they say."""

import json

import pytest

from tests.support.benchmarks import run_small


def test_the_last_line_holds_every_figure() -> None:
    printed = run_small("data", "--images", "12", "--rounds", "1")
    result = json.loads(printed.splitlines()[-1])
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
    assert f"{whole:.2f}" in printed
