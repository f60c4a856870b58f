"""The benchmark of the index runs, and its figures are what they say."""

import json

import pytest

from tests.support.benchmarks import run_small

pytest.importorskip("faiss")


def test_the_last_line_holds_every_figure() -> None:
    printed = run_small("index")
    result = json.loads(printed.splitlines()[-1])
    assert (result["rows"], result["projection"]) == (4000, 256)
    assert set(result) >= {"commit", "machine", "date", "threads", "versions", "ratios"}
    probes = result["recall"]["probes"]
    shares = [probes[name]["recall_at_10"] for name in sorted(probes, key=int)]
    # More cells find more; all cells find all.
    assert shares == sorted(shares)
    assert shares[-1] > 0.99
    assert result["build"]["structure_megabytes"] > 4000 * 256 / 1e6
    for name in ("write", "build", "search", "recall"):
        assert result[name]["peak_megabytes"] > 0
