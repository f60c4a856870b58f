"""A ViT and a BERT of transformers, and files of their weights, to start fresh models from."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    BertConfig,
    BertForPreTraining,
    ViTConfig,
    ViTForImageClassification,
)

from tests.support.tiny import TINY

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
State = dict[str, Tensor]


def randomised(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Nothing that is usually 0 or 1 stays so: a norm or a bias in the wrong place shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def vit(image_size: int = 32) -> ViTForImageClassification:
    config = ViTConfig(
        image_size=image_size,
        patch_size=16,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=96,
        layer_norm_eps=1e-6,
    )
    model = randomised(ViTForImageClassification(config), seed=1)
    assert isinstance(model, ViTForImageClassification)
    return model


def timm_layout(model: ViTForImageClassification) -> State:
    """What timm, and DeiT's files, call the same tensors; q, k and v lie in one."""
    names = {
        "vit.embeddings.cls_token": "cls_token",
        "vit.embeddings.position_embeddings": "pos_embed",
        "vit.embeddings.patch_embeddings.projection.": "patch_embed.proj.",
        "vit.layernorm.": "norm.",
        "classifier.": "head.",
        "vit.layers.": "blocks.",
        ".layernorm_before.": ".norm1.",
        ".layernorm_after.": ".norm2.",
        ".attention.o_proj.": ".attn.proj.",
    }
    state: State = {}
    for name, tensor in model.state_dict().items():
        for theirs, timm in names.items():
            name = name.replace(theirs, timm)
        state[name] = tensor.clone()
    for layer in range(2):
        for kind in ("weight", "bias"):
            parts = [state.pop(f"blocks.{layer}.attention.{p}_proj.{kind}") for p in "qkv"]
            state[f"blocks.{layer}.attn.qkv.{kind}"] = torch.cat(parts)
    return state


def bert_config(**changes: int) -> BertConfig:
    sizes = {
        "vocab_size": TINY.text.vocabulary_size - 2,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 32,
    }
    return BertConfig(**{**sizes, **changes})


def bert(**changes: int) -> BertForPreTraining:
    """With a head for masked words and one for pairs of sentences, as the published one."""
    model = randomised(BertForPreTraining(bert_config(**changes)), seed=2)
    assert isinstance(model, BertForPreTraining)
    return model


def state_of(model: torch.nn.Module) -> State:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def saved(state: State, path: Path) -> Path:
    save_file({name: tensor.contiguous().clone() for name, tensor in state.items()}, path)
    return path
