"""A whole checkpoint folder: the model's files and tokenizer.json."""

from dataclasses import dataclass
from pathlib import Path

import torch

from blip.data.tokenizer import Tokenizer
from blip.errors import BlipError
from blip.files import fingerprint_file
from blip.model.blip import Blip
from blip.model.checkpoint.folder import WEIGHTS, find_checkpoint, read_weights, write_weights
from blip.model.config import ModelConfig

TOKENIZER = "tokenizer.json"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a checkpoint folder holds; the model is in evaluation mode."""

    model: Blip
    tokenizer: Tokenizer
    path: Path
    fingerprint: str
    """Of the weights; the ledger names captioner and filter by it."""

    @property
    def config(self) -> ModelConfig:
        """Sizes of the model."""
        return self.model.config


def save_model(model: Blip, tokenizer: Tokenizer, folder: Path) -> None:
    """Write a checkpoint into `folder`, which exists (an atomic folder, where it must be whole)."""
    write_weights(model, folder)
    tokenizer.save(folder)


def load_model(path: str | Path, device: torch.device | str = "cpu") -> Loaded:
    """Open a checkpoint folder, or the `checkpoint` of a run folder.

    Raises UsageError where there is none, and BlipError where it is torn or its parts do not fit.
    """
    folder = find_checkpoint(path)
    model = read_weights(folder, device)
    if not (folder / TOKENIZER).is_file():
        raise BlipError(f"{folder} has no {TOKENIZER}")
    tokenizer = Tokenizer.load(folder / TOKENIZER)
    size = model.config.text.vocabulary_size
    if tokenizer.vocabulary_size != size:
        raise BlipError(
            f"{folder}: the tokenizer has {tokenizer.vocabulary_size} tokens, the model {size}"
        )
    return Loaded(model, tokenizer, folder, fingerprint_file(folder / WEIGHTS))


__all__ = ["Loaded", "find_checkpoint", "load_model", "save_model"]
