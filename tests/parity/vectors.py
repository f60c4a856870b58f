"""Where the golden vectors lie, and the models that they were made with."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from blip.model.config import ModelConfig, TextConfig, VisionConfig

FOLDER = Path(os.environ.get("BLIP_SHARED", "../shared")) / "vectors"

needs_vectors = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"golden vectors are not at {FOLDER} (set BLIP_SHARED)"
)

HEADS = 4
"""Of every tiny model; the one size that no shape tells."""


def weights(name: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint in the original layout."""
    return torch.load(FOLDER / f"{name}.pth", weights_only=True)["model"]


def vectors(name: str) -> dict[str, Tensor]:
    """Inputs and outputs of the original code."""
    return load_file(FOLDER / f"{name}.safetensors")


def texts() -> dict:
    """The strings."""
    return json.loads((FOLDER / "texts.json").read_text(encoding="utf-8"))


def tiny_config(state: dict[str, Tensor]) -> ModelConfig:
    """The sizes of a tiny model, read from its tensors; without dropout."""
    width, _, patch, _ = state["visual_encoder.patch_embed.proj.weight"].shape
    side = round((state["visual_encoder.pos_embed"].shape[1] - 1) ** 0.5)
    words, text_width = state["text_encoder.embeddings.word_embeddings.weight"].shape
    intermediate = state["text_encoder.encoder.layer.0.intermediate.dense.weight"]

    def depth(prefix: str) -> int:
        return len({key.split(".")[prefix.count(".")] for key in state if key.startswith(prefix)})

    return ModelConfig(
        vision=VisionConfig(
            image_size=side * patch,
            patch_size=patch,
            width=width,
            depth=depth("visual_encoder.blocks."),
            heads=HEADS,
            mlp_ratio=state["visual_encoder.blocks.0.mlp.fc1.weight"].shape[0] / width,
        ),
        text=TextConfig(
            vocabulary_size=words,
            width=text_width,
            depth=depth("text_encoder.encoder.layer."),
            heads=HEADS,
            mlp_width=intermediate.shape[0],
            positions=state["text_encoder.embeddings.position_embeddings.weight"].shape[0],
            dropout=0.0,
        ),
        projection=state["vision_proj.weight"].shape[0],
    )
