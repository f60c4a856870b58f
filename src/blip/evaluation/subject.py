"""What is evaluated: a model on its device, and the data, which are read once for all figures."""

from functools import cached_property
from typing import Any

from blip.data.examples.evaluation_set import EvaluationSet
from blip.data.examples.question_set import QuestionSet
from blip.evaluation.config import EvaluateConfig
from blip.inference.checkpoint import Loaded
from blip.model.make import Model


class Subject:
    """A loaded checkpoint and the configuration of its evaluation."""

    def __init__(self, loaded: Loaded[Model], config: EvaluateConfig) -> None:
        self.model, self.tokenizer, self.config = loaded.model, loaded.tokenizer, config

    @cached_property
    def pairs(self) -> EvaluationSet:
        """Images with all their true texts.

        Raises UsageError where there is no data, and BlipError where no picture can be used.
        """
        size = self.model.config.vision.image_size
        return EvaluationSet(self.config.data, size, max_pixels=self.config.max_pixels)

    @cached_property
    def questions(self) -> QuestionSet:
        """Images with all questions about them; raises as `pairs` does."""
        return QuestionSet(self.config.data, max_pixels=self.config.max_pixels)

    def describe_data(self) -> dict[str, Any]:
        """How much was read; what was bad, counted by its reason, and the first of it named."""
        if self.model.config.architecture == "vqa":
            data, asked = self.questions, list(self.questions.questions)
            without = sum(not question.answers for question in asked)
            counts = {"questions": len(asked), "questions_without_answers": without}
        else:
            data, counts = self.pairs, {"texts": sum(map(len, self.pairs.texts))}
        return {
            "images": len(data),
            **counts,
            "left_out": dict(sorted(data.bad.counts.items())),
            "left_out_samples": [
                {"shard": shard, "key": key, "reason": reason}
                for shard, key, reason in data.bad.first
            ],
        }
