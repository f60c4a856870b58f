"""The benchmark of linear layers times all formats."""

import json
import sys

import pytest

from benchmarks import products
from blip.nn.kernels.int8_weight import int8_multiplies


@pytest.mark.skipif(not int8_multiplies(), reason="this CPU has no instructions for int8")
def test_every_format_is_timed(monkeypatch, capsys) -> None:
    monkeypatch.setattr(products, "CACHES", 2**14)
    monkeypatch.setattr(sys, "argv", ["products.py", "--small", "--repeats", "1"])
    assert products.main() == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(result["ratios"]) == ["48 x 32, 1 rows", "48 x 32, 5 rows"]
    for name, of in result["microseconds"].items():
        assert min(of.values()) > 0
        for one, ratio in result["ratios"][name].items():
            assert ratio == pytest.approx(of["float32"] / of[one], rel=0.2, abs=0.02)
