"""Tiny checkpoints and what is exported of them."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from blip.data.tokenizer import Tokenizer
from blip.export.manifest import ExportPrecision
from blip.export.write import export_onnx
from blip.inference.checkpoint import save_model
from blip.model.blip import Blip
from tests.support.saved_models import save_picture
from tests.support.tiny import make_model
from tests.support.tiny_data import SENTENCE


@dataclass(frozen=True)
class Exported:
    """A checkpoint, the folder that was exported of it, and some pictures."""

    checkpoint: Path
    folder: Path
    pictures: list[Path]


def export_tiny(place: Path, precision: ExportPrecision = "float32") -> Exported:
    """A model whose texts differ from picture to picture and in their lengths."""
    tokenizer = Tokenizer.train([SENTENCE] * 3, vocabulary_size=60)
    model = make_model(tokenizer)
    sharpen(model, tokenizer.sep_id)
    checkpoint, folder = place / "checkpoint", place / precision
    checkpoint.mkdir()
    save_model(model, tokenizer, checkpoint)
    pictures = [save_picture(place / f"{number}.png", number) for number in range(4)]
    export_onnx(checkpoint, folder, precision=precision, calibration=pictures)
    return Exported(checkpoint, folder, pictures)


def sharpen(model: Blip, end: int) -> None:
    """Let the decoder look at pictures, and end texts at times."""
    torch.manual_seed(1)
    for layer in model.text.text_layers():
        for read in layer.cross("causal").attentions:
            nn.init.normal_(read.key_value.weight, std=2.0)
    with torch.no_grad():
        model.text.embedding.select("causal").words.weight.mul_(8)
        model.language_head.bias[end] += 2.0
