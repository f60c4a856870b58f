"""Runs the generators of users' inputs that broke something, and makes models to read them with."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from blip.data.tokenizer import Tokenizer
from blip.inference.checkpoint import load_model, save_model
from blip.model.blip import Blip
from blip.model.config import ModelConfig
from blip.nn.mode import BOTH_MODES, Mode
from tests.model.tiny import TINY

SHARED = Path(os.environ.get("BLIP_SHARED", "../shared")).absolute()


def run_generator(name: str, folder: Path, *arguments: str | Path) -> Path:
    """Let a case's generator write into `folder`; the test is skipped where there is none."""
    generator = SHARED / "cases" / name / "gen.py"
    if not generator.is_file():
        pytest.skip(f"no generator at {generator} (set BLIP_SHARED)")
    folder.mkdir(parents=True, exist_ok=True)
    # Where it starts `blip`, that is the one of the tests.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    source = str(Path(__file__).parents[2] / "src")
    command = [sys.executable, str(generator), *map(str, arguments)]
    environment = {**os.environ, "PATH": path, "PYTHONPATH": source}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def tiny_checkpoint(
    folder: Path, texts: list[str], modes: tuple[Mode, ...] = BOTH_MODES, seed: int = 0
) -> Path:
    """A checkpoint with random weights and a tokenizer that knows the words of some texts."""
    tokenizer = Tokenizer.train(texts * 3, vocabulary_size=300)
    torch.manual_seed(seed)
    text = replace(TINY.text, vocabulary_size=tokenizer.vocabulary_size, dropout=0.0)
    folder.mkdir(parents=True)
    save_model(Blip(replace(TINY, text=text, modes=modes)).eval(), tokenizer, folder)
    return folder


def tiny_model_config(checkpoint: Path) -> ModelConfig:
    """The sizes of a checkpoint that `tiny_checkpoint` made."""
    return load_model(checkpoint).config
