"""A tiny checkpoint, and pictures, for the verbs that use a model."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image

from blip.data.tokenizer import Tokenizer
from blip.inference.checkpoint import save_model
from blip.model.make import make_model
from tests.model.tiny import TINY
from tests.tasks.conftest import SENTENCE


def save_tiny(folder: Path, architecture: Literal["med", "vqa"] = "med") -> Path:
    """A checkpoint with random weights that write different texts about different pictures."""
    tokenizer = Tokenizer.train([SENTENCE] * 3, vocabulary_size=200)
    torch.manual_seed(0)
    text = replace(TINY.text, vocabulary_size=tokenizer.vocabulary_size)
    model = make_model(replace(TINY, text=text, architecture=architecture))
    for layer in model.text.layers:
        read = layer.cross_attention.select("causal").read
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
