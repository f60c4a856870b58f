"""Where the golden vectors lie, and the models that they were made with."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from blip.data.tokenizer import Texts, Tokenizer
from blip.model.checkpoint.assemble import shapes_of
from blip.model.checkpoint.contents import read_contents
from blip.model.checkpoint.original import kind_of
from blip.model.checkpoint.sizes import Heads, config_from_shapes
from blip.model.config import ModelConfig

FOLDER = Path(os.environ.get("BLIP_SHARED", "../shared")) / "vectors"

needs_vectors = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"golden vectors are not at {FOLDER} (set BLIP_SHARED)"
)

Kind = TypeVar("Kind", bound=nn.Module)

HEADS = Heads(vision=4, text=4)
"""Of every tiny model; the one size that no shape tells."""
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def weights(name: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint in the original layout."""
    return torch.load(FOLDER / f"{name}.pth", weights_only=True)["model"]


def vectors(name: str) -> dict[str, Tensor]:
    """Inputs and outputs of the original code."""
    return load_file(FOLDER / f"{name}.safetensors")


def texts() -> dict:
    """The strings."""
    return json.loads((FOLDER / "texts.json").read_text(encoding="utf-8"))


def tokenizer() -> Tokenizer:
    """That of every tiny model."""
    return Tokenizer.load(FOLDER / "tiny_vocab.txt")


def encoded(sentences: list[str], start: int, max_tokens: int = 40) -> Texts:
    """Ids as the original code feeds them, with another start token than `[CLS]`."""
    return tokenizer().encode(sentences, max_tokens).start_with(start)


def tiny_config(state: dict[str, Tensor]) -> ModelConfig:
    """The sizes of a tiny model, read from its tensors; without dropout."""
    config = config_from_shapes(kind_of(state), shapes_of(state), HEADS)
    return replace(config, text=replace(config.text, dropout=0.0))


def tiny_model(name: str, of: type[Kind], image_size: int | None = None) -> Kind:
    """A tiny model with its golden weights, in evaluation mode."""
    contents = read_contents(FOLDER / f"{name}.pth", HEADS).at_image_size(image_size)
    model = contents.model()
    assert isinstance(model, of)
    return model
