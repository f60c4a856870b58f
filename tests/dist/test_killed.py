"""Workers killed again and again, started again in other numbers: every sample comes once."""

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from tests.support.dist_program import BATCH, PICTURES, pretrain, pretrain_together
from tests.support.ranks import start_ranks

EPOCHS = 4
STEPS = EPOCHS * PICTURES // BATCH
RANKS = (1, 2, 4)


def end(group: Sequence[BaseProcess]) -> None:
    for process in group:
        process.kill()
        process.join()


def steps_logged(folder: Path) -> int:
    log = folder / "metrics.jsonl"
    return len(log.read_text().splitlines()) if log.exists() else 0


@pytest.mark.parametrize(("kind", "kills"), [("ddp", 10), ("fsdp", 3)])
def test_kills_lose_nothing_and_repeat_nothing(
    tmp_path: Path, shards: Path, words: Path, kind: str, kills: int
) -> None:
    pretrain(tmp_path / "whole", shards, words, steps=STEPS)
    folder, record = tmp_path / "cut", tmp_path / "record"
    work = partial(
        pretrain_together,
        folder=folder,
        shards=shards,
        tokenizer=words,
        record=record,
        steps=STEPS,
        checkpoint_every=2,
        parallel=kind,
        pause=0.05,
    )
    draw = random.Random(0)
    for _ in range(kills):
        before = steps_logged(folder)
        group = start_ranks(draw.choice(RANKS), work)
        # The checkpoints come every second step: from some runs nothing is left.
        while steps_logged(folder) < min(before + draw.randint(1, 2), STEPS - 1):
            assert all(process.is_alive() for process in group)
            time.sleep(0.01)
        victim = draw.choice(group)
        assert victim.pid is not None
        os.kill(victim.pid, signal.SIGKILL)
        end(group)
    group = start_ranks(2, work)
    for process in group:
        process.join(60)
        assert process.exitcode == 0
    seen: dict[int, Counter[str]] = {}
    for line in record.read_text().splitlines():
        number, _, keys = json.loads(line)
        seen.setdefault(number, Counter()).update(keys)
    # A step that was begun again saw the same samples again, and its first result was dropped.
    steps = [set(seen[number]) for number in range(STEPS)]
    for epoch in range(EPOCHS):
        batches = steps[epoch * STEPS // EPOCHS : (epoch + 1) * STEPS // EPOCHS]
        assert sum(map(len, batches)) == len(set().union(*batches)) == PICTURES
    measured, expected = losses(folder), losses(tmp_path / "whole")
    assert len(measured) == STEPS
    assert measured == pytest.approx(expected, rel=1e-6)


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").open()]
