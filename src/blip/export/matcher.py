"""Pictures and texts in, scores out, by an exported model."""

from torch import Tensor

from blip.data.tokenizer import Texts
from blip.export.exported import ExportedModel
from blip.export.predictor import ExportedPredictor
from blip.inference.base import MAX_TOKENS
from blip.inference.matcher import TextMatcher
from blip.nn.kv import ImageKV
from blip.nn.mode import Mode


class OnnxMatcher(TextMatcher, ExportedPredictor):
    """Matches texts to pictures as `blip.Matcher` does, in onnxruntime on the CPU.

    >>> import blip
    >>> from pathlib import Path
    >>> manifest = blip.export_onnx("runs/filter", Path("runs/filter-onnx"))
    >>> matcher = blip.OnnxMatcher.load("runs/filter-onnx")
    >>> matcher.probability(["photo.jpg"], [["a dog on a beach"]])
    [[0.97]]
    """

    def __init__(self, model: ExportedModel) -> None:
        """Raises UsageError for a model that was exported without a text encoder."""
        super().__init__(model)
        self.max_tokens = min(MAX_TOKENS, model.config.text.positions)

    @classmethod
    def _needs(cls) -> Mode:
        return "bidirectional"

    def _project(self, states: Tensor) -> ImageKV:
        return self.model.project_image(states, "bidirectional")

    def _image_features(self, states: Tensor) -> Tensor:
        return self.model.image_features(states)

    def _text_features(self, texts: Texts) -> Tensor:
        return self.model.text_features(texts.ids, texts.visible)

    def _match(self, kv: ImageKV, texts: Texts) -> Tensor:
        return self.model.match_logits(texts.ids, texts.visible, kv).softmax(dim=1)[:, 1]
