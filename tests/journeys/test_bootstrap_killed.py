"""The main job, killed with SIGKILL time and again, ends as a run that nobody touched."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from blip.data.tokenizer import Tokenizer

MODELS = ("round-1/pretrain", "round-1/captioner", "round-1/filter", "round-2/pretrain", "baseline")
KILLED_AT = (
    "round-1/pretrain/checkpoints/step-00000010",
    "round-1/capfilt/config.json",
    "baseline/checkpoints/step-00000005",
)
"""The run is killed when each of these appears; the rest of the stage is then still to be done."""
COMMAND = [
    sys.executable,
    *("-m", "blip", "bootstrap", "scenes_test", "--parallel", "1"),
    *("--pretrain.steps", "40", "--pretrain.checkpoint_every", "5"),
    *("--next_pretrain.steps", "40", "--next_pretrain.checkpoint_every", "5"),
]


def start(out: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, "--tokenizer", str(out.parent / "tokenizer.json"), "--out", str(out)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(out: Path) -> str:
    process = start(out)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    return output


def kill_when(appears: Path, out: Path) -> None:
    process = start(out)
    deadline = time.monotonic() + 120
    while not appears.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, f"{appears} did not appear"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL


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
