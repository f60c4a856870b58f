"""A MED that starts from a ViT and a BERT and has learnt nothing yet of images with texts."""

from dataclasses import replace
from pathlib import Path

import torch

from blip.data.tokenizer import Tokenizer
from blip.files import atomic_folder
from blip.inference.checkpoint import save_model
from blip.log import say
from blip.model.blip import Blip
from blip.model.checkpoint.initial import start_text, start_vision
from blip.model.config import ModelConfig


def write_start(
    vision_weights: str, text_weights: Path, config: ModelConfig, out: Path, seed: int
) -> None:
    """Write the checkpoint `out`, unless it is there.

    `vocab.txt` lies beside the BERT. Cross-attention, which neither file has, is newly initialised.
    """
    if out.is_dir():
        return
    tokenizer = Tokenizer.load(text_weights.with_name("vocab.txt"))
    torch.manual_seed(seed)
    text = replace(config.text, vocabulary_size=tokenizer.vocabulary_size)
    model = Blip(replace(config, text=text))
    for started in (start_vision(model, vision_weights), start_text(model, text_weights)):
        say(started.line)
    with atomic_folder(out) as part:
        save_model(model, tokenizer, part)
