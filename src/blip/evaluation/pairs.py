"""Images with their true texts, which retrieval and captions are both measured with."""

from blip.data.examples.evaluation_set import EvaluationSet
from blip.evaluation.config import EvaluateConfig
from blip.model.config import ModelConfig


def read(config: EvaluateConfig, model: ModelConfig) -> EvaluationSet:
    """All that `config.data` names; raises as `EvaluationSet` does.

    Where captions alone are measured, pictures need none: a server may keep them to itself.
    """
    captions_only = config.task == "caption" or "bidirectional" not in model.modes
    return EvaluationSet(
        config.data,
        model.vision.image_size,
        max_pixels=config.max_pixels,
        need_text=not captions_only,
    )
