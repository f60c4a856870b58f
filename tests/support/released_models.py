"""Tiny models with random weights in the layouts of the releases: original and Hugging Face."""

from dataclasses import replace
from pathlib import Path

import torch

from blip.data.tokenizer import Tokenizer
from blip.model.checkpoint.contents import Contents
from blip.model.checkpoint.huggingface import SpecialIds
from blip.model.checkpoint.written import original_state, write_huggingface
from blip.model.config import ModelConfig, TextConfig, VisionConfig
from blip.model.make import make_model

WORDS = ["a red square", "a green circle", "two blue stars", "buy a square"]


TOKENIZER = Tokenizer.train(WORDS, vocabulary_size=80)


# Files of the original release name no heads: they are 64 wide.
SIZES = ModelConfig(
    vision=VisionConfig(image_size=32, patch_size=16, width=64, depth=1, heads=1),
    text=TextConfig(
        vocabulary_size=TOKENIZER.vocabulary_size, width=64, depth=1, heads=1, mlp_width=64
    ),
    projection=256,
)


IDS = SpecialIds(dec=TOKENIZER.dec_id, sep=TOKENIZER.sep_id, pad=TOKENIZER.pad_id)


def contents(mode: str) -> Contents:
    """What a COCO captioner ("causal") or a COCO retrieval model holds, momentum and queues too."""
    sizes = replace(SIZES, modes=(mode,))
    torch.manual_seed(0)
    tensors = make_model(sizes).state_dict()
    if mode == "causal":
        return Contents(sizes, tensors)
    momentum = {
        name: tensor.clone()
        for name, tensor in tensors.items()
        if name.startswith(("vision.", "text.")) or "_projection" in name
    }
    momentum |= {"image_queue": torch.rand(256, 8), "text_queue": torch.rand(256, 8)}
    momentum |= {"idx_queue": torch.zeros(1, 8, dtype=torch.int64), "ptr_queue": torch.tensor([3])}
    return Contents(sizes, tensors, momentum=momentum)


def original(folder: Path, mode: str) -> Path:
    """A `.pth` as the original release has it, which says nothing of sizes and holds no words."""
    folder.mkdir()
    torch.save({"model": original_state(contents(mode))}, folder / "model.pth")
    TOKENIZER.save(folder)
    return folder / "model.pth"


def hugging_face(folder: Path, mode: str) -> Path:
    folder.mkdir()
    write_huggingface(contents(mode), IDS, folder)
    TOKENIZER.save(folder)
    return folder
