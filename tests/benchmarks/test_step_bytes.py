"""The count of a training step's bytes runs, and knows what the optimiser and the averages move."""

import json

import pytest

from tests.support.benchmarks import run_small


def test_the_last_line_holds_every_figure() -> None:
    result = json.loads(run_small("step_bytes").splitlines()[-1])
    assert set(result) >= {"commit", "machine", "date", "threads", "versions", "ratios"}
    weights, ours = result["gbyte_of_weights"], result["gbyte"]["ours"]
    assert set(ours) == {"forward", "backward", "optimizer", "averages"}
    # Seven times is what AdamW moves: it reads four and writes three numbers for each weight.
    assert ours["optimizer"] == pytest.approx(7 * weights, rel=0.05)
    assert 0 < ours["averages"] < 3.5 * weights
    assert result["ratios"]["bytes_vs_textbook"] < 1
