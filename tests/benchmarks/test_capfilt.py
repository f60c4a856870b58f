"""The benchmark of the whole job runs, and its last line has what it promises."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "capfilt.py"


def test_it_runs_and_says_what_it_promises():
    pytest.importorskip("transformers")
    done = subprocess.run(
        [sys.executable, SCRIPT, "--small", "--images", "5", "--repeats", "1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    written = json.loads(done.stdout.splitlines()[-1])
    assert list(written["ratios"]) == ["capfilt"]
    assert written["ratios"]["capfilt"] > 0
    for workers in ("workers_1", "workers_2"):
        figures = written["per_second"][workers]
        assert figures["ours"] > 0 < figures["peer"]
        assert 0 <= figures["share_not_in_models"] < 1
    assert {"commit", "machine", "date", "versions"} <= written.keys()
