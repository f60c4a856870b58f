"""The measurement of memory runs, ranks every pair that it promises, and reports its peak."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "rerank_memory.py"


def test_it_ranks_and_reports_its_peak() -> None:
    command = [sys.executable, SCRIPT, "--small", "--candidates", "3", "--threads", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["images"], result["texts"]) == (200, 1000)
    assert 1000 * 3 <= result["pairs"] <= 1200 * 3
    assert result["peak_gibibytes"] >= result["peak_gibibytes_before"] > 0
