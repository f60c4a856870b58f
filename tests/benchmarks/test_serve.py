"""The benchmark of the service runs, and loses and mixes up no answer."""

import json
from pathlib import Path

from tests.support.benchmarks import run_small


def test_the_last_line_holds_every_figure() -> None:
    result = json.loads(run_small("serve").splitlines()[-1])
    assert set(result) >= {"commit", "machine", "date", "threads", "versions", "ratios"}
    assert result["many"]["clients"] == 8
    for name in ("one", "many"):
        figures = result[name]
        assert figures["requests"] > 0
        assert (figures["mixed"], figures["lost"]) == (0, 0)
        assert 0 < figures["p50_milliseconds"] <= figures["p99_milliseconds"]
    if Path("/proc/self/status").exists():
        assert 0 < result["one"]["peak_megabytes"] <= result["many"]["peak_megabytes"]
    assert min(result["gflop_per_second"], result["gbyte_per_second"]) > 0
    assert result["ratios"]["many_vs_one"] > 0
