"""The verb capfilt with tiny checkpoints of its own, in a process of its own."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from blip.data.tokenizer import Tokenizer
from blip.data.writers.shards import ShardWriter
from blip.inference.checkpoint import save_model
from blip.model.blip import Blip
from blip.model.config import ModelConfig, TextConfig, VisionConfig

WORDS = ["a red square", "a green circle", "two blue stars on a field", "buy it now", "IMG 2041"]


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def jpeg(seed: int, size: int = 40) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (size, size, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    """Captioner and filter of different picture sizes, with random weights."""
    tokenizer = Tokenizer.train(WORDS, vocabulary_size=80)
    folders = {}
    for seed, (name, size) in enumerate({"captioner": 32, "filter": 48}.items()):
        torch.manual_seed(seed)
        config = ModelConfig(
            vision=VisionConfig(image_size=size, patch_size=16, width=32, depth=2, heads=2),
            text=TextConfig(
                vocabulary_size=tokenizer.vocabulary_size,
                width=32,
                depth=2,
                heads=2,
                mlp_width=64,
                positions=40,
            ),
            projection=16,
        )
        folders[name] = tmp_path_factory.mktemp(name)
        model = Blip(config)
        with torch.no_grad():
            # Larger weights, so that scores spread and verdicts differ.
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.mul_(4.0)
        save_model(model, tokenizer, folders[name])
    return folders


def web(folder: Path, shards: int, samples: int) -> Path:
    for shard in range(shards):
        with ShardWriter(folder / f"{shard:05d}.tar") as writer:
            for number in range(samples):
                place = shard * samples + number
                writer.write(f"{place:06d}", jpeg(place), "jpg", WORDS[place % len(WORDS)], {})
    return folder


def options(models: dict[str, Path], data: Path, out: Path, *more: str) -> list[str]:
    given = [f"--{name}={folder}" for name, folder in models.items()]
    return ["capfilt", *given, "--data", str(data), "--out", str(out), "--batch-size", "4", *more]


def start(arguments: Sequence[str]) -> subprocess.Popen[str]:
    """The command in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "blip.cli.main", *arguments],
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Whoever runs the tests in the background ignores Ctrl-C, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for(happens, seconds: int = 60) -> None:
    for _ in range(100 * seconds):
        if happens():
            return
        time.sleep(0.01)
    raise AssertionError(f"it did not happen within {seconds} s")
