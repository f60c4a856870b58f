"""The benchmark of training runs, its contenders agree, and its figures are those it promises."""

import argparse
import importlib
import json
from pathlib import Path

import pytest
import torch

from tests.support.benchmarks import run_small

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "pretrain.py"
CONTENDERS = ["ours", "textbook", "huggingface"]


def test_the_last_line_holds_every_figure() -> None:
    pytest.importorskip("transformers")
    printed = run_small("pretrain", "--rounds", "1", "--steps", "1", "--threads", "1")
    result = json.loads(printed.splitlines()[-1])
    assert result["same_losses"] is True
    assert list(result["ratios"]) == ["step_vs_huggingface", "step_vs_textbook"]
    assert set(result) >= {"commit", "machine", "date", "device", "dtype", "threads", "versions"}
    assert list(result["contenders"]) == CONTENDERS
    ours = result["contenders"]["ours"]
    for name, value in result["contenders"].items():
        assert value["batch"] == 8
        assert len(value["seconds"]) == 1
        assert value["peak_gbyte"] > 0
        assert 0 < value["utilisation"]["measured"] < 1
        assert value["samples_per_second"] == pytest.approx(8 / value["seconds"][0], rel=0.02)
        assert name in printed
        if name != "ours":
            expected = ours["samples_per_second"] / value["samples_per_second"]
            assert result["ratios"][f"step_vs_{name}"] == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(("room", "expected"), [(100, 64), (512, 512), (20, 32)])
def test_a_gpu_is_filled(monkeypatch: pytest.MonkeyPatch, room: int, expected: int) -> None:
    monkeypatch.syspath_prepend(SCRIPT.parent)
    pretrain = importlib.import_module("pretrain")

    class Contender:
        def __init__(self, batch: int) -> None:
            self.batch, self.steps = batch, 0

        def step(self) -> None:
            self.steps += 1
            # The second step is the one that has the optimiser's state beside its activations.
            if self.steps == 2 and self.batch > room:
                raise torch.OutOfMemoryError("too much")

    monkeypatch.setattr(pretrain, "make_contender", lambda _, size, __: Contender(size))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: None)
    assert pretrain.largest_batch(argparse.Namespace(), torch.device("cpu")) == expected
