"""Every task, listed once: what trains it and what measures it; loads no torch by itself.

`blip pretrain`, `blip finetune`, `blip evaluate --task`, the jobs of the main job, the listings of
recipes and the table in docs/architecture.md read it. A new task adds an entry to `TASKS` and one
to `EVALUATIONS`; both name modules, which are imported when they are needed.
"""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal

from blip.config.fields import field_docstrings
from blip.evaluation.choose import Evaluation
from blip.evaluation.config import check_answering, check_captioning, check_written_answers
from blip.tasks.config import (
    CaptionerConfig,
    FilterConfig,
    NlvrConfig,
    PretrainConfig,
    RunOptions,
    TrainingConfig,
    VisdialConfig,
    VqaConfig,
)


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
    examples: str
    """What a batch of its training holds, in words."""
    config: type[TrainingConfig]
    module: str
    """Has `train(config, out, options)`; it is imported when something is trained."""
    evaluations: tuple[str, ...]
    """Names in `EVALUATIONS`: what the trained model is measured by."""

    @property
    def names(self) -> tuple[str, ...]:
        """All names that `blip finetune` takes for it."""
        return (self.name,) if self.other_name is None else (self.name, self.other_name)

    @property
    def meanings(self) -> dict[str, str]:
        """What some keys of its configuration mean for this task, for `--keys` and `--help`."""
        examples = self.examples[:1].upper() + self.examples[1:]
        of_batch = f"{examples} in a batch, over all processes that train together."
        of_data = field_docstrings(self.config).get("data")
        of_sources = {} if of_data is None else {"data.sources": of_data}
        return {"data.batch_size": of_batch, **of_sources}

    def train(self, config: TrainingConfig, out: Path, options: RunOptions | None = None) -> Path:
        """Train a `config` of this task into the run folder `out`; returns `out`."""
        return import_module(self.module).train(config, out, options)


def find_task(config: object) -> TrainingTask | None:
    """The task that a configuration trains; None for one of something else."""
    return next((task for task in TASKS if task.config is type(config)), None)


EVALUATIONS = (
    Evaluation(
        name="retrieval",
        figures="recall at 1, 5 and 10, both ways, and how often the first fits a built-in scene",
        architecture="med",
        mode="bidirectional",
        module="blip.evaluation.retrieval",
        reader="blip.evaluation.pairs",
        options=("candidates", "retrieval"),
    ),
    Evaluation(
        name="caption",
        figures="CIDEr, BLEU and ROUGE-L, and how many captions of built-in scenes are true",
        architecture="med",
        mode="causal",
        module="blip.evaluation.caption",
        reader="blip.evaluation.pairs",
        outputs="captions",
        result_file="captions.json",
        options=("decoding", "meteor", "spice"),
        check=check_captioning,
    ),
    Evaluation(
        name="vqa",
        figures="VQA accuracy, of all questions and of each type of answer and question",
        architecture="vqa",
        mode="bidirectional",
        module="blip.evaluation.vqa",
        reader="blip.evaluation.vqa",
        counted=("images", "questions"),
        outputs="answers",
        result_file="answers.json",
        options=("answers", "candidates", "decoding"),
        check=check_answering,
    ),
    Evaluation(
        name="nlvr",
        figures="accuracy and consistency of statements about pairs of images, and of each split",
        architecture="nlvr",
        mode="bidirectional",
        module="blip.evaluation.nlvr",
        reader="blip.evaluation.nlvr",
        counted=("pairs", "statements"),
        outputs="predictions",
        result_file="predictions.csv",
    ),
    Evaluation(
        name="video_retrieval",
        figures="recall at 1, 5 and 10 of videos and their texts, median and mean rank, zero-shot",
        architecture="med",
        mode="bidirectional",
        module="blip.evaluation.video_retrieval",
        reader="blip.evaluation.video_retrieval",
        counted=("videos", "texts"),
        options=("candidates", "retrieval", "frames"),
        only_when_chosen=True,
    ),
    Evaluation(
        name="video_qa",
        figures="accuracy of answers to questions about videos, zero-shot",
        architecture="vqa",
        mode="bidirectional",
        module="blip.evaluation.video_qa",
        reader="blip.evaluation.video_qa",
        counted=("videos", "questions"),
        outputs="answers",
        result_file="answers.json",
        options=("answers", "candidates", "decoding", "frames"),
        only_when_chosen=True,
        check=check_answering,
    ),
    Evaluation(
        name="visdial",
        figures="MRR, recall at 1, 5 and 10, mean rank, and NDCG where relevance is known",
        architecture="visdial",
        mode="bidirectional",
        module="blip.evaluation.visdial",
        reader="blip.evaluation.visdial",
        counted=("images", "rounds"),
        outputs="ranks",
        result_file="ranks.json",
        options=("write_answers", "decoding"),
        check=check_written_answers,
    ),
)
"""What a checkpoint can be measured by, in the order in which it is done."""

TASKS = (
    TrainingTask(
        name="pretrain",
        verb="pretrain",
        objectives="ITC, ITM and LM: a MED",
        examples="pairs of an image and a text",
        config=PretrainConfig,
        module="blip.tasks.pretrain",
        evaluations=("retrieval", "caption"),
    ),
    TrainingTask(
        name="captioner",
        other_name="caption",
        verb="finetune",
        objectives="LM: writes captions",
        examples="pairs of an image and a caption",
        config=CaptionerConfig,
        module="blip.tasks.caption",
        evaluations=("caption",),
    ),
    TrainingTask(
        name="filter",
        other_name="retrieval",
        verb="finetune",
        objectives="ITC and ITM: matches, and retrieves",
        examples="pairs of an image and a caption",
        config=FilterConfig,
        module="blip.tasks.retrieval",
        evaluations=("retrieval",),
    ),
    TrainingTask(
        name="vqa",
        verb="finetune",
        objectives="LM, weighted by annotators: answers questions",
        examples="questions with their images",
        config=VqaConfig,
        module="blip.tasks.vqa",
        evaluations=("vqa",),
    ),
    TrainingTask(
        name="nlvr",
        verb="finetune",
        objectives="classification: judges statements about pairs of images",
        examples="statements with their two images",
        config=NlvrConfig,
        module="blip.tasks.nlvr",
        evaluations=("nlvr",),
    ),
    TrainingTask(
        name="visdial",
        verb="finetune",
        objectives="ITM: ranks answers in a dialogue; with LM: writes them, too",
        examples="questions of dialogues with their images",
        config=VisdialConfig,
        module="blip.tasks.visdial",
        evaluations=("visdial",),
    ),
)
"""What can be trained."""
