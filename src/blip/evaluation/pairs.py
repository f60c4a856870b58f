"""Images with their true texts, which retrieval and captions are both measured with."""

from blip.data.examples.evaluation_set import EvaluationSet
from blip.evaluation.config import EvaluateConfig
from blip.model.config import ModelConfig


def read(config: EvaluateConfig, model: ModelConfig) -> EvaluationSet:
    """All that `config.data` names; raises as `EvaluationSet` does."""
    return EvaluationSet(config.data, model.vision.image_size, max_pixels=config.max_pixels)
