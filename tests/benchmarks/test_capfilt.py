"""The benchmark of the whole job runs, and its last line has what it promises."""

import json

import pytest

from tests.support.benchmarks import run_small


def test_it_runs_and_says_what_it_promises():
    pytest.importorskip("transformers")
    printed = run_small("capfilt", "--images", "5", "--repeats", "1")
    written = json.loads(printed.splitlines()[-1])
    assert list(written["ratios"]) == ["capfilt"]
    assert written["ratios"]["capfilt"] > 0
    for workers in ("workers_1", "workers_2"):
        figures = written["per_second"][workers]
        assert figures["ours"] > 0 < figures["peer"]
        assert 0 <= figures["share_not_in_models"] < 1
    assert {"commit", "machine", "date", "versions"} <= written.keys()
