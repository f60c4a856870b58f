"""Questions about images: from a sample to an example with weighted answers, and to a batch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from blip.data.config import DataConfig
from blip.data.examples.pixels import TrainingPixels
from blip.data.examples.usable import (
    Usable,
    check_picture,
    find_fault_beside_texts,
    leave_out_empty,
    leave_out_without_truth,
    say_what_is_there,
)
from blip.data.questions import QUESTIONS, AskedQuestion, clean_question, questions_of
from blip.data.sample import OrderedSample, Sample, Selected
from blip.data.tokenizer import Texts, Tokenizer
from blip.data.transforms import normalise
from blip.errors import UsageError

MISSING_ANSWER, EMPTY_QUESTION, NO_QUESTION = "missing_answer", "empty_question", "no_question"


class QuestionExample(NamedTuple):
    """An image, a question about it, and its different answers."""

    pixels: np.ndarray
    """`(size, size, 3)` uint8."""
    question: str
    """Cleaned."""
    answers: dict[str, float]
    """How much each counts: the share of the annotators who gave it."""
    key: str


@dataclass(frozen=True, slots=True)
class QuestionBatch:
    """Images, a question about each, and all different answers to them."""

    images: Float[Tensor, "batch 3 height width"]
    questions: Texts
    """`(batch, tokens)`."""
    answers: Texts
    """`(answers, tokens)`, those of one question after those of another."""
    asked: Int[Tensor, " answers"]
    """Which question each answers."""
    weights: Float[Tensor, " answers"]
    """How much each counts."""
    keys: tuple[str, ...]

    def __len__(self) -> int:
        """Number of questions."""
        return len(self.images)

    def to(self, device: torch.device | str) -> "QuestionBatch":
        """The same batch on another device, except what tells how texts are packed.

        Every step reads the lengths of texts from `visible`, and would have to wait for a GPU.
        """
        return replace(
            self,
            images=self.images.to(device, non_blocking=True),
            questions=self.questions.send_ids(device),
            answers=self.answers.send_ids(device),
            asked=self.asked.to(device, non_blocking=True),
            weights=self.weights.to(device, non_blocking=True),
        )

    def pin_memory(self) -> "QuestionBatch":
        """The same batch in pinned memory; `torch.utils.data.DataLoader` calls it."""
        return replace(
            self,
            images=self.images.pin_memory(),
            questions=self.questions.pin_memory(),
            answers=self.answers.pin_memory(),
            asked=self.asked.pin_memory(),
            weights=self.weights.pin_memory(),
        )


@final
class QuestionExamples:
    """Every answered question of a sample is an example (BLIP, section 5.3)."""

    noun = "question"

    def __init__(self, config: DataConfig, tokenizer: Tokenizer) -> None:
        """Raises UsageError for a prompt: questions have none."""
        if config.prompt:
            raise UsageError(f"`data.prompt` must be empty for questions, got {config.prompt!r}")
        self.config, self.tokenizer = config, tokenizer
        self.pixels = TrainingPixels(config.image)

    def select(self, sample: Sample) -> Selected:
        """The image of a sample and those of its questions that are answered."""
        answered, sample_fault, part_fault = leave_out_without_truth(
            find_questions(sample),
            lambda question: bool(question.answers),
            lambda question: question.question_id,
            missing=MISSING_ANSWER,
        )
        if sample_fault is not None:
            return Selected(None, 0, sample_fault)
        meta = {QUESTIONS: [question.to_json() for question in answered]}
        return Selected(Sample(sample.key, sample.image, (), meta), len(answered), part_fault)

    def check(self, sample: Sample) -> Selected:
        """As `select`, with the picture decoded."""
        return check_picture(self.select(sample), self.config.image.max_pixels)

    def make(self, ordered: OrderedSample, rng: np.random.Generator) -> QuestionExample:
        """The image with the question that is due, or with one drawn. Raises BadImageError."""
        sample, number = ordered.sample, ordered.number
        questions, _ = questions_of(sample.meta)
        if number is None:
            number = int(rng.integers(len(questions)))
        assert sample.image is not None
        return QuestionExample(
            pixels=self.pixels.make(sample.image, ordered.cache_key, rng),
            question=clean_question(questions[number].text),
            answers=questions[number].weigh_answers(),
            key=sample.key,
        )

    def collate(self, examples: Sequence[QuestionExample]) -> QuestionBatch:
        """Pixels normalised; questions and answers as tokens, padded and cut alike."""
        longest = self.config.max_tokens
        answers = [answer for example in examples for answer in example.answers]
        counts = torch.tensor([len(example.answers) for example in examples])
        return QuestionBatch(
            images=normalise(np.stack([example.pixels for example in examples])),
            questions=self.tokenizer.encode([one.question for one in examples], longest),
            answers=self.tokenizer.encode(answers, longest),
            asked=torch.arange(len(examples)).repeat_interleave(counts),
            weights=torch.tensor([w for one in examples for w in one.answers.values()]),
            keys=tuple(example.key for example in examples),
        )


def find_questions(sample: Sample) -> Usable[list[AskedQuestion]]:
    """Sort out the questions of a sample, answered or not, without decoding its picture."""
    fault = find_fault_beside_texts(sample)
    questions, part_fault = questions_of(sample.meta)
    found = leave_out_empty(
        questions,
        part_fault,
        lambda question: clean_question(question.text),
        lambda question: question.question_id,
        empty=EMPTY_QUESTION,
        none=say_what_is_there(NO_QUESTION, sample, QUESTIONS),
    )
    return found if fault is None else Usable(found.sound, fault, None)
