"""Toy kinds of examples, to show that a loader takes any kind: questions, and pairs of images."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from blip.data.config import DataConfig
from blip.data.examples.pixels import TrainingPixels
from blip.data.faults import BadSampleError
from blip.data.sample import OrderedSample, Sample, Selected


class Question(NamedTuple):
    """A question with one of its answers."""

    key: str
    text: str
    answer: str
    brightness: float
    image_id: int


class QuestionExamples:
    """Every question in `meta` is an example; one of its answers is drawn each time."""

    noun = "question"

    def __init__(self, config: DataConfig) -> None:
        self.pixels = TrainingPixels(config.image)

    def select(self, sample: Sample) -> Selected:
        questions = sample.meta.get("questions", [])
        if sample.image is None or not questions:
            return Selected(None, 0, sample.error or "no_question")
        return Selected(sample, len(questions), None)

    def check(self, sample: Sample) -> Selected:
        selected = self.select(sample)
        if selected.sample is not None and b"broken" in (sample.image or b""):
            return Selected(None, 0, "broken: on purpose")
        return selected

    def make(self, ordered: OrderedSample, rng: np.random.Generator) -> Question:
        sample, questions = ordered.sample, ordered.sample.meta["questions"]
        number = ordered.number
        if number is None:
            number = int(rng.integers(len(questions)))
        if sample.image is None or b"broken" in sample.image:
            raise BadSampleError("broken: on purpose")
        text, *answers = questions[number]
        answer = answers[int(rng.integers(len(answers)))]
        pixels = self.pixels.make(sample.image, ordered.cache_key, rng)
        return Question(sample.key, text, answer, float(pixels.mean()), ordered.image_id)

    def collate(self, examples: Sequence[Question]) -> list[Question]:
        return list(examples)


class Statement(NamedTuple):
    """A text about two images."""

    text: str
    brightness: tuple[float, float]


class StatementExamples:
    """A sample with two images is one example."""

    noun = "statement"

    def __init__(self, config: DataConfig) -> None:
        self.pixels = TrainingPixels(config.image)

    def select(self, sample: Sample) -> Selected:
        if sample.image is None or len(sample.more_images) != 1:
            return Selected(None, 0, "not_two_images")
        return Selected(sample, 1, None)

    def check(self, sample: Sample) -> Selected:
        return self.select(sample)

    def make(self, ordered: OrderedSample, rng: np.random.Generator) -> Statement:
        sample, key = ordered.sample, ordered.cache_key
        assert sample.image is not None
        left, right = (
            float(self.pixels.make(content, None if key is None else (key, side), rng).mean())
            for side, content in enumerate((sample.image, *sample.more_images))
        )
        return Statement(sample.texts[0], (left, right))

    def collate(self, examples: Sequence[Statement]) -> list[Statement]:
        return list(examples)
