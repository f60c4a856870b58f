"""Runs `blip` as its users do, and reads what it wrote."""

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from blip.cli.main import main
from blip.config.strict import load_json


def blip(*words: str | Path) -> None:
    """Run a command in this process; ends the program with its status where it fails."""
    line = [str(word) for word in words]
    print(f"$ blip {shlex.join(line)}", file=sys.stderr, flush=True)
    if status := main(line):
        raise SystemExit(status)


def measure(
    checkpoint: str | Path, data: str | Path, task: str, out: Path, more: Sequence[str] = ()
) -> dict[str, Any]:
    """The figures of `blip evaluate --task`, measured into `out` unless they are there."""
    path = out / "evaluation.json"
    if not path.is_file():
        blip("evaluate", checkpoint, "--data", data, "--task", task, "--out", out, *more)
    return load_json(path)


def training_seconds(run: Path) -> float:
    """How long the steps of a finished training took, without start and breaks."""
    batch = load_json(run / "config.json")["data"]["batch_size"]
    seconds, before = 0.0, 0
    for text in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        if "samples_per_second" in line:
            seconds += (line["step"] - before) * batch / line["samples_per_second"]
            before = line["step"]
    return seconds
