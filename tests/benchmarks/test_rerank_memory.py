"""The measurement of memory runs, ranks every pair that it promises, and reports its peak."""

import json

from tests.support.benchmarks import run_small


def test_it_ranks_and_reports_its_peak() -> None:
    printed = run_small("rerank_memory", "--candidates", "3", "--threads", "1")
    (result,) = json.loads(printed.splitlines()[-1])["sizes"]
    assert (result["images"], result["texts"]) == (200, 1000)
    assert 1000 * 3 <= result["pairs"] <= 1200 * 3
    assert result["peak_gibibytes"] >= result["peak_gibibytes_before"] > 0
