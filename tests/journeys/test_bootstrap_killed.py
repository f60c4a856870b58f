"""The main job, killed with SIGKILL time and again, ends as a run that nobody touched."""

import json
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from blip.data.tokenizer import Tokenizer
from tests.support.forked import run_command, start_forked

MODELS = ("round-1/pretrain", "round-1/captioner", "round-1/filter", "round-2/pretrain", "baseline")
KILLED_AT = (
    "round-1/pretrain/checkpoints/step-00000010",
    "round-1/capfilt/config.json",
    "baseline/checkpoints/step-00000005",
)
"""The run is killed when each of these appears; the rest of the stage is then still to be done."""
COMMAND = [
    *("bootstrap", "scenes_test", "--parallel", "1"),
    *("--pretrain.steps", "20", "--pretrain.checkpoint_every", "5"),
    *("--next_pretrain.steps", "15", "--next_pretrain.checkpoint_every", "5"),
]


def start(out: Path, log: Path) -> BaseProcess:
    tokenizer = str(out.parent / "tokenizer.json")
    return start_forked(run_command, [*COMMAND, "--tokenizer", tokenizer, "--out", str(out)], log)


def finish(out: Path) -> str:
    log = out.with_name(f"{out.name}.log")
    process = start(out, log)
    process.join(120)
    assert process.exitcode == 0, log.read_text()
    return log.read_text()


def kill_when(appears: Path, out: Path) -> None:
    log = out.with_name("before.log")
    process = start(out, log)
    deadline = time.monotonic() + 120
    while not appears.exists():
        assert process.is_alive(), log.read_text()
        assert time.monotonic() < deadline, f"{appears} did not appear"
        time.sleep(0.002)
    process.kill()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL


def result(out: Path) -> dict[str, Any]:
    summary = json.loads((out / "summary.json").read_text())
    del summary["seconds"]
    return {
        "summary": summary,
        **{name: (out / name / "checkpoint/model.safetensors").read_bytes() for name in MODELS},
        **{path.name: path.read_bytes() for path in out.glob("round-1/capfilt/shards/*.tar")},
    }


@pytest.mark.timeout(240)
def test_killed_and_started_again_it_is_the_same(tmp_path: Path) -> None:
    words = ["a red star to the left of two small blue squares on a grey background"]
    Tokenizer.train(words, vocabulary_size=100).save(tmp_path)
    finish(tmp_path / "whole")
    for place in KILLED_AT:
        kill_when(tmp_path / "killed" / place, tmp_path / "killed")
        assert not (tmp_path / "killed" / "summary.json").exists()
    output = finish(tmp_path / "killed")
    assert output.count("done already") >= 5
    whole, killed = result(tmp_path / "whole"), result(tmp_path / "killed")
    assert whole.keys() == killed.keys()
    assert [name for name in whole if whole[name] != killed[name]] == []
