"""The main job asked to stop: it finishes its step, leaves a checkpoint, and says how it ended."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.support.forked import run_command, start_forked


@pytest.mark.parametrize(
    ("sent", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)], ids=["SIGTERM", "Ctrl-C"]
)
def test_it_ends_in_order_and_goes_on(tmp_path: Path, sent: signal.Signals, status: int) -> None:
    output, out = tmp_path / "output", tmp_path / "out"
    command = ["bootstrap", "scenes_test", "--out", str(out), "--pretrain.steps", "1000000"]
    process = start_forked(run_command, command, output)
    log = out / "round-1" / "pretrain" / "metrics.jsonl"
    for _ in range(6000):
        if log.exists() and log.stat().st_size:
            break
        assert process.is_alive(), output.read_text()
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, sent)
    process.join(60)
    said = output.read_text()
    assert process.exitcode == status, said
    assert "run the same command again to resume" in said
    assert "Traceback" not in said
    assert list((log.parent / "checkpoints").glob("step-*/training.pt"))
