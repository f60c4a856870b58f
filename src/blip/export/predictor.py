"""What captioner and matcher of an exported model share: they open a folder and encode pictures."""

from abc import abstractmethod
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from blip.export.exported import ExportedModel
from blip.inference.base import PictureEncoder
from blip.model.config import ModelConfig
from blip.nn.mode import Mode


class ExportedPredictor(PictureEncoder):
    """An exported model that encodes pictures, on the CPU.

    Abstract: `OnnxCaptioner` and `OnnxMatcher` say what they compute.
    """

    def __init__(self, model: ExportedModel) -> None:
        """Raises UsageError for a model that was exported without the text transformer it needs."""
        model.require(self._needs())
        self.model = model
        self.tokenizer = model.tokenizer

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Open a folder that `blip convert --to onnx` wrote; errors as in `ExportedModel.load`."""
        return cls(ExportedModel.load(folder))

    @classmethod
    @abstractmethod
    def _needs(cls) -> Mode:
        """The mode in which its text transformer runs."""

    @property
    def config(self) -> ModelConfig:
        """Sizes of the model."""
        return self.model.config

    @property
    def device(self) -> torch.device:
        """The CPU."""
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """What graphs take, whatever they compute in."""
        return torch.float32

    def _encode_pixels(self, pixels: Tensor) -> Tensor:
        return self.model.encode_pixels(pixels)
