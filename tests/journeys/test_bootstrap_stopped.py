"""The main job asked to stop: it finishes its step, leaves a checkpoint, and says how it ended."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("sent", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)], ids=["SIGTERM", "Ctrl-C"]
)
def test_it_ends_in_order_and_goes_on(tmp_path: Path, sent: signal.Signals, status: int) -> None:
    command = [sys.executable, "-m", "blip", "bootstrap", "scenes_test", "--out", str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [*command, "--pretrain.steps", "1000000"],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        log = tmp_path / "round-1" / "pretrain" / "metrics.jsonl"
        for _ in range(6000):
            if log.exists() and log.stat().st_size:
                break
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.01)
        process.send_signal(sent)
        _, said = process.communicate(timeout=60)
    assert process.returncode == status, said
    assert "run the same command again to resume" in said
    assert "Traceback" not in said
    assert list((log.parent / "checkpoints").glob("step-*/training.pt"))
