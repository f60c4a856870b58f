"""`benchmarks/export.py` runs every way, and those in float32 write the same captions."""

import json

from tests.support.benchmarks import run_small


def test_all_ways_run_and_agree():
    printed = run_small("export", "--repeats", "1", "--threads", "1")
    result = json.loads(printed.splitlines()[-1])
    assert result["same_results"] is True
    assert set(result["images_per_second"]) == {
        "eager",
        "kernels",
        "onnxruntime float32",
        "onnxruntime int8-dynamic",
        "onnxruntime int8-static",
    }
    for rates in result["images_per_second"].values():
        assert all(rate > 0 for rate in rates.values())
    # Without the photos there is nothing to compare, and a line says so.
    assert result["int8"] or "are not compared: no " in printed
    for kind in ("int8-dynamic", "int8-static") if result["int8"] else ():
        assert 0 < result["int8"][kind]["itm_mean_difference"] < 0.05
