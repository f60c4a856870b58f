"""Every task, listed once: what trains it and what measures it; loads no torch by itself.

`blip pretrain`, `blip finetune`, `blip evaluate --task`, the jobs of the main job, the listings of
recipes and the table in docs/architecture.md read it. A new task adds an entry to `TASKS`, one to
`EVALUATIONS`, and for each a function that imports the task when it is called.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from blip.evaluation.choose import Evaluation
from blip.evaluation.config import EvaluateConfig, check_answering, check_captioning
from blip.model.config import ModelConfig
from blip.tasks.config import (
    CaptionerConfig,
    FilterConfig,
    PretrainConfig,
    RunOptions,
    TrainingConfig,
    VqaConfig,
)

if TYPE_CHECKING:
    from blip.data.examples.evaluation_set import EvaluationSet
    from blip.data.examples.question_set import QuestionSet
    from blip.evaluation.subject import Subject


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingTask:
    """A model that can be trained."""

    name: str
    """Of `blip finetune NAME`; `blip.recipes.NAME` holds its recipes."""
    other_name: str | None = None
    """Of `blip finetune NAME` as well: what the model is measured by, where its name is another."""
    verb: Literal["pretrain", "finetune"]
    """The command that trains it."""
    objectives: str
    """Its losses, and what they make of the model."""
    config: type[TrainingConfig]
    train: Callable[[Any, Path, RunOptions | None], Path]
    """Trains a `config` into a run folder; imports when called."""
    evaluations: tuple[str, ...]
    """Names in `EVALUATIONS`: what the trained model is measured by."""

    @property
    def names(self) -> tuple[str, ...]:
        """All names that `blip finetune` takes for it."""
        return (self.name,) if self.other_name is None else (self.name, self.other_name)


def find_task(config: object) -> TrainingTask | None:
    """The task that a configuration trains; None for one of something else."""
    return next((task for task in TASKS if task.config is type(config)), None)


def _pretrain(config: PretrainConfig, out: Path, options: RunOptions | None) -> Path:
    from blip.tasks import pretrain

    return pretrain.train(config, out, options)


def _finetune_captioner(config: CaptionerConfig, out: Path, options: RunOptions | None) -> Path:
    from blip.tasks import caption

    return caption.train(config, out, options)


def _finetune_filter(config: FilterConfig, out: Path, options: RunOptions | None) -> Path:
    from blip.tasks import retrieval

    return retrieval.train(config, out, options)


def _finetune_vqa(config: VqaConfig, out: Path, options: RunOptions | None) -> Path:
    from blip.tasks import vqa

    return vqa.train(config, out, options)


def _read_pairs(config: EvaluateConfig, model: ModelConfig) -> "EvaluationSet":
    from blip.data.examples.evaluation_set import EvaluationSet

    return EvaluationSet(config.data, model.vision.image_size, max_pixels=config.max_pixels)


def _read_questions(config: EvaluateConfig, _: ModelConfig) -> "QuestionSet":
    from blip.data.examples.question_set import QuestionSet

    return QuestionSet(config.data, max_pixels=config.max_pixels)


def _measure_retrieval(subject: "Subject[EvaluationSet]") -> dict[str, Any]:
    from blip.evaluation import retrieval

    return retrieval.measure(subject)


def _measure_captions(subject: "Subject[EvaluationSet]") -> dict[str, Any]:
    from blip.evaluation import caption

    return caption.measure(subject)


def _caption_rows(subject: "Subject[EvaluationSet]", captions: Any) -> list[dict[str, Any]]:
    from blip.evaluation import results

    return results.caption_rows(subject.data, captions)


def _measure_answers(subject: "Subject[QuestionSet]") -> dict[str, Any]:
    from blip.evaluation import vqa

    return vqa.measure(subject)


EVALUATIONS = (
    Evaluation(
        name="retrieval",
        figures="recall at 1, 5 and 10, both ways, and how often the first fits a built-in scene",
        architecture="med",
        mode="bidirectional",
        read=_read_pairs,
        measure=_measure_retrieval,
        options=("candidates", "score", "itc_weight"),
    ),
    Evaluation(
        name="caption",
        figures="CIDEr, BLEU and ROUGE-L, and how many captions of built-in scenes are true",
        architecture="med",
        mode="causal",
        read=_read_pairs,
        measure=_measure_captions,
        outputs="captions",
        result_file="captions.json",
        result_rows=_caption_rows,
        options=("decoding", "meteor"),
        check=check_captioning,
    ),
    Evaluation(
        name="vqa",
        figures="VQA accuracy, of all questions and of each type of answer and question",
        architecture="vqa",
        mode="bidirectional",
        read=_read_questions,
        counted=("images", "questions"),
        measure=_measure_answers,
        outputs="answers",
        result_file="answers.json",
        options=("answers", "candidates", "decoding"),
        check=check_answering,
    ),
)
"""What a checkpoint can be measured by, in the order in which it is done."""

TASKS = (
    TrainingTask(
        name="pretrain",
        verb="pretrain",
        objectives="ITC, ITM and LM: a MED",
        config=PretrainConfig,
        train=_pretrain,
        evaluations=("retrieval", "caption"),
    ),
    TrainingTask(
        name="captioner",
        other_name="caption",
        verb="finetune",
        objectives="LM: writes captions",
        config=CaptionerConfig,
        train=_finetune_captioner,
        evaluations=("caption",),
    ),
    TrainingTask(
        name="filter",
        other_name="retrieval",
        verb="finetune",
        objectives="ITC and ITM: matches, and retrieves",
        config=FilterConfig,
        train=_finetune_filter,
        evaluations=("retrieval",),
    ),
    TrainingTask(
        name="vqa",
        verb="finetune",
        objectives="LM, weighted by annotators: answers questions",
        config=VqaConfig,
        train=_finetune_vqa,
        evaluations=("vqa",),
    ),
)
"""What can be trained."""
