"""`torchrun -m blip pretrain`: a signal leaves a checkpoint; a death ends all, with a reason."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from blip.config.strict import save
from blip.data.config import DataConfig, ImageConfig, SourceConfig
from blip.data.tokenizer import Tokenizer
from blip.model.config import ModelConfig, TextConfig
from blip.objectives.config import ContrastiveConfig
from blip.tasks.config import PretrainConfig
from blip.train.config import TrainConfig
from tests.support.tiny import TINY

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node")


@pytest.fixture
def config(tmp_path: Path, shards: Path, words: Path) -> Path:
    vocabulary = Tokenizer.load(words).vocabulary_size
    text = TextConfig(
        vocabulary_size=vocabulary, width=16, depth=2, heads=2, mlp_width=32, positions=32
    )
    config = PretrainConfig(
        model=ModelConfig(vision=TINY.vision, text=text, projection=8),
        tokenizer=str(words),
        data=DataConfig(
            sources=(SourceConfig(name="all", shards=(str(shards),)),),
            batch_size=8,
            image=ImageConfig(size=TINY.vision.image_size),
        ),
        contrastive=ContrastiveConfig(queue_size=16),
        train=TrainConfig(steps=100_000, log_every=1, device="cpu"),
    )
    path = tmp_path / "pretrain.json"
    save(config, path)
    return path


def start(config: Path, ranks: int, *changes: str) -> subprocess.Popen[str]:
    command = [sys.executable, *TORCHRUN, str(ranks), "-m", "blip", "pretrain", str(config)]
    out = config.parent / "run"
    return subprocess.Popen(
        [*command, "--out", str(out), *changes],
        stderr=subprocess.PIPE,
        text=True,
        # A process that ends by a fatal signal says where each of its threads was.
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"},
    )


def wait_for(config: Path, step: int, run: subprocess.Popen[str]) -> None:
    log = config.parent / "run" / "metrics.jsonl"
    while not (log.exists() and any(json.loads(x)["step"] >= step for x in log.open())):
        assert run.poll() is None, run.stderr and run.stderr.read()
        time.sleep(0.05)


def workers(run: subprocess.Popen[str]) -> list[int]:
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children")
    if not children.exists():
        pytest.skip("this system does not tell the children of a process")
    return [
        int(pid)
        for pid in children.read_text().split()
        if b"pretrain" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def test_stopped_and_killed(config: Path) -> None:
    run = start(config, 2)
    wait_for(config, 3, run)
    # A scheduler tells one process, or all: either way all stop after the same step.
    os.kill(workers(run)[1], signal.SIGTERM)
    _, output = run.communicate(timeout=60)
    assert run.returncode == 0, output
    assert "run the same command again to resume" in output
    (checkpoint,) = (config.parent / "run" / "checkpoints").glob("step-*")
    stopped_after = int(checkpoint.name.removeprefix("step-"))
    assert stopped_after >= 3

    run = start(config, 2)
    wait_for(config, stopped_after + 1, run)
    os.kill(workers(run)[0], signal.SIGKILL)
    _, output = run.communicate(timeout=60)
    assert run.returncode != 0
    assert "Signal 9 (SIGKILL)" in output

    # The main process decides, and none waits for another.
    last = stopped_after + 2
    run = start(config, 2, "--train.steps", str(last))
    _, output = run.communicate(timeout=60)
    assert run.returncode != 0
    assert f"(train.steps {last}, was 100000); --allow-change resumes" in output

    # Alone, it resumes from what two processes left.
    run = start(config, 1, "--train.steps", str(last), "--allow-change")
    _, output = run.communicate(timeout=120)
    assert run.returncode == 0, output
    assert (config.parent / "run" / "checkpoint" / "model.safetensors").exists()


def test_a_signal_to_the_whole_group_leaves_workers_at_their_work(config: Path) -> None:
    """As a terminal's Ctrl-C, and a scheduler's SIGTERM, come: to decoding processes as well."""
    run = start(config, 1, "--data.workers", "1", "--train.accumulation", "3")
    wait_for(config, 3, run)
    (worker,) = workers(run)
    os.killpg(os.getpgid(worker), signal.SIGTERM)
    _, output = run.communicate(timeout=60)
    assert list((config.parent / "run" / "checkpoints").glob("step-*")), output
    assert "Traceback" not in output.partition("torch.distributed")[0], output
