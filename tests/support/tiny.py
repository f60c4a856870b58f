"""The smallest model that has every part."""

from dataclasses import replace

import torch

from blip.data.tokenizer import Tokenizer
from blip.model.blip import Blip
from blip.model.config import ModelConfig, Sharing, TextConfig, VisionConfig

TINY = ModelConfig(
    vision=VisionConfig(image_size=32, patch_size=16, width=24, depth=2, heads=3),
    text=TextConfig(
        vocabulary_size=40, width=16, depth=2, heads=2, mlp_width=32, positions=32, dropout=0.0
    ),
    projection=8,
)


def tiny_model(sharing: Sharing = "all_but_self_attention", seed: int = 0) -> Blip:
    """A tiny model with random weights, in evaluation mode."""
    torch.manual_seed(seed)
    return Blip(replace(TINY, sharing=sharing)).eval()


def make_model(tokenizer: Tokenizer) -> Blip:
    """A tiny model with the vocabulary of a tokenizer, in evaluation mode."""
    torch.manual_seed(0)
    text = replace(TINY.text, vocabulary_size=tokenizer.vocabulary_size)
    return Blip(replace(TINY, text=text)).eval()


def tiny_texts(texts: int, length: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    """Random ids (never 0) and their mask; the lengths differ, padding is 0."""
    ids = torch.randint(1, 38, (texts, length))
    visible = torch.arange(length) < torch.randint(3, length + 1, (texts, 1))
    return ids.masked_fill(~visible, 0), visible
