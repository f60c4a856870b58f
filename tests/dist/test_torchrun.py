"""`torchrun -m blip pretrain`: a signal leaves a checkpoint; a death ends all, with a reason."""

import faulthandler
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from blip.config.strict import save
from blip.data.config import DataConfig, ImageConfig, SourceConfig
from blip.data.tokenizer import Tokenizer
from blip.model.config import ModelConfig, TextConfig
from blip.objectives.config import ContrastiveConfig
from blip.tasks.config import PretrainConfig
from blip.train.config import TrainConfig
from tests.support.forked import run_command, start_forked, write_to
from tests.support.ranks import start_ranks
from tests.support.tiny import TINY

TWO = ["--standalone", "--nproc-per-node", "2", "-m", "blip"]


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


def pretraining(config: Path, *changes: str) -> list[str]:
    return ["pretrain", str(config), "--out", str(config.parent / "run"), *changes]


def torchrun(arguments: list[str], output: Path) -> None:
    """The work of a process: `torchrun`, which starts its processes anew."""
    from torch.distributed.run import main

    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}
    write_to(output)
    main([*TWO, *arguments])


def lead_group(arguments: list[str], output: Path) -> None:
    """The work of a process: the command, at the head of a group as torchrun starts it."""
    os.setsid()
    # A process that ends by a fatal signal says where each of its threads was.
    faulthandler.enable()
    run_command(arguments, output)


def wait_for(config: Path, step: int, alive: Callable[[], bool], output: Path) -> None:
    log = config.parent / "run" / "metrics.jsonl"
    while not (log.exists() and any(json.loads(x)["step"] >= step for x in log.open())):
        assert alive(), output.read_text()
        time.sleep(0.05)


def started(torchrun: int) -> list[int]:
    """The processes that train."""
    children = Path(f"/proc/{torchrun}/task/{torchrun}/children")
    if not children.exists():
        pytest.skip("this system does not tell the children of a process")
    return [
        int(pid)
        for pid in children.read_text().split()
        if b"pretrain" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def test_stopped_and_killed(config: Path, tmp_path: Path) -> None:
    output = tmp_path / "stopped"
    group = start_ranks(2, run_command, pretraining(config), output)
    wait_for(config, 3, group[0].is_alive, output)
    # A scheduler tells one process, or all: either way all stop after the same step.
    assert group[1].pid is not None
    os.kill(group[1].pid, signal.SIGTERM)
    for process in group:
        process.join(60)
        assert process.exitcode == 0, output.read_text()
    # Of several processes with the same to say, the main one says it.
    assert output.read_text().count("run the same command again to resume") == 1
    (checkpoint,) = (config.parent / "run" / "checkpoints").glob("step-*")
    stopped_after = int(checkpoint.name.removeprefix("step-"))
    assert stopped_after >= 3

    output = tmp_path / "killed"
    # Begun without torchrun, it resumes with it.
    again = start_forked(torchrun, pretraining(config), output)
    wait_for(config, stopped_after + 1, again.is_alive, output)
    assert again.pid is not None
    os.kill(started(again.pid)[0], signal.SIGKILL)
    again.join(60)
    assert again.exitcode
    assert "Signal 9 (SIGKILL)" in output.read_text()

    # The main process decides, and none waits for another.
    last, output = stopped_after + 2, tmp_path / "refused"
    fewer = pretraining(config, "--train.steps", str(last))
    for process in start_ranks(2, run_command, fewer, output):
        process.join(60)
        assert process.exitcode
    refusal = f"(train.steps {last}, was 100000); --allow-change resumes"
    assert output.read_text().count(refusal) == 1

    # Alone, it resumes from what two processes left.
    output = tmp_path / "alone"
    (alone,) = start_ranks(1, run_command, [*fewer, "--allow-change"], output)
    alone.join(120)
    assert alone.exitcode == 0, output.read_text()
    assert (config.parent / "run" / "checkpoint" / "model.safetensors").exists()


def test_a_signal_to_the_whole_group_leaves_workers_at_their_work(
    config: Path, tmp_path: Path
) -> None:
    """As a terminal's Ctrl-C, and a scheduler's SIGTERM, come: to decoding processes as well."""
    output = tmp_path / "output"
    command = pretraining(config, "--data.workers", "1", "--train.accumulation", "3")
    (run,) = start_ranks(1, lead_group, command, output)
    wait_for(config, 3, run.is_alive, output)
    assert run.pid is not None
    os.killpg(run.pid, signal.SIGTERM)
    run.join(60)
    assert run.exitcode == 0, output.read_text()
    assert list((config.parent / "run" / "checkpoints").glob("step-*")), output.read_text()
    assert "Traceback" not in output.read_text()
