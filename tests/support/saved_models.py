"""Tiny checkpoints with random weights, and pictures to show them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from blip.data.tokenizer import Tokenizer
from blip.inference.checkpoint import load_model, save_model
from blip.model.blip import Blip
from blip.model.config import Architecture, ModelConfig
from blip.model.make import make_model
from blip.nn.mode import BOTH_MODES, Mode
from tests.support.tiny import TINY
from tests.support.tiny_data import SENTENCE


def save_tiny(
    folder: Path, architecture: Architecture = "med", positions: int | None = None
) -> Path:
    """A checkpoint with random weights that say different things of different pictures."""
    tokenizer = Tokenizer.train([SENTENCE] * 3, vocabulary_size=200)
    torch.manual_seed(0)
    # A dialogue and an answer must have room.
    positions = positions or (96 if architecture == "visdial" else TINY.text.positions)
    vocabulary_size = tokenizer.vocabulary_size
    text = replace(TINY.text, vocabulary_size=vocabulary_size, positions=positions)
    mode: Mode = "bidirectional" if architecture == "nlvr" else "causal"
    modes = (mode,) if architecture == "nlvr" else BOTH_MODES
    model = make_model(replace(TINY, text=text, architecture=architecture, modes=modes))
    for layer in model.text.layers:
        for read in layer.cross(mode).attentions:
            torch.nn.init.normal_(read.key_value.weight, std=2.0)
    folder.mkdir(parents=True, exist_ok=True)
    save_model(model, tokenizer, folder)
    return folder


def save_picture(path: Path, seed: int = 0) -> Path:
    noise = np.random.default_rng(seed).integers(0, 255, (40, 56, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = {".png": "PNG", ".jpg": "JPEG"}[path.suffix.lower()]
    Image.fromarray(noise).save(path, kind)
    return path


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
