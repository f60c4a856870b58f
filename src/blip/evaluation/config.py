"""What is measured of a checkpoint, finished or in training; loads no torch."""

import shutil
from dataclasses import dataclass, field
from typing import Annotated, Literal

from blip.config.ranges import (
    BATCH_SIZE,
    COUNT,
    COUNT_OR_NONE,
    DEVICE,
    FRAMES,
    NOT_EMPTY,
    TOKENS,
    PrecisionChoice,
    Range,
    RangeError,
    check_fields,
)
from blip.config.strict import added, formerly
from blip.data.annotations.answers import read_candidates
from blip.data.config import MAX_PIXELS
from blip.errors import UsageError
from blip.generation.config import DecodingConfig
from blip.metrics.spice import lacking_for_spice
from blip.model.checkpoint.format import Origin
from blip.model.config import ModelConfig, check_length
from blip.places import home_path

MatchScore = Literal["logit", "log_probability", "probability"]
"""What of ITM's two logits is added to the ITC cosine of a candidate."""
DEFAULT_SCORES: dict[Origin, MatchScore] = {"trained": "log_probability", "released": "logit"}
"""The score that ranks where none is chosen, by the origin of the checkpoint.

A released checkpoint has its published figures by the logit. That logit has no fixed zero, as
training moves only its difference to the logit against a match: models trained here rank better by
the log-probability (experiments/scenes_demo).
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class RetrievalEvaluationConfig:
    """Ranking by ITC, then re-ranking of the best by ITM (BLIP, section 5.1)."""

    candidates: Annotated[int, COUNT] = 128
    """k: how many of the ITC ranking ITM re-ranks (256 for COCO, 128 for Flickr30k)."""
    max_tokens: Annotated[int, TOKENS] = 35
    batch_size: Annotated[int, BATCH_SIZE] = 64
    """Images that are encoded at a time, and texts."""
    score: MatchScore | None = field(default=None, metadata=added())
    """What of ITM is added to the cosine: the logit of a match, as published, or the (logarithm of
    the) probability, which unlike it has a fixed zero; none is log_probability for a checkpoint
    that was trained here, logit for a released one."""
    itc_weight: Annotated[float, Range(least=0)] = field(default=1.0, metadata=added())
    """By what the ITC cosine is multiplied before ITM's score is added."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_fields(self)

    def score_of(self, origin: Origin) -> MatchScore:
        """The score that ranks with a checkpoint of this origin."""
        return self.score or DEFAULT_SCORES[origin]


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOutConfig:
    """Measuring a model on held-out data, every `train.evaluate_every` steps of its training."""

    shards: tuple[str, ...]
    """Tars, tables, files, folders of pictures, globs, brace ranges, remote tars or commands."""
    max_pixels: Annotated[int, COUNT] = MAX_PIXELS
    """Width times height of the largest picture that is read."""

    def __post_init__(self) -> None:
        """Refuse an empty list of shards, and numbers out of range."""
        if not self.shards:
            raise ValueError("shards must name at least one shard")
        check_fields(self)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Files and folders that the validation reads."""
        return self.shards


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidationConfig(HeldOutConfig):
    """Held-out images with all their true captions."""

    images: Annotated[int, Range(whole=True, least=2, most=COUNT.most)] = 1000
    """Most images that are read, from the first on."""
    retrieval: RetrievalEvaluationConfig = RetrievalEvaluationConfig(candidates=16)
    """Few candidates: the trend matters here, not the exact figure."""
    batch_size: Annotated[int | None, BATCH_SIZE] = field(default=None, metadata=added())
    """Images that are captioned together; none is `retrieval.batch_size`."""
    samples: Annotated[int, COUNT_OR_NONE] = 8
    """Images whose captions are written, and drawn in `samples/` of the run; 0 for none."""
    decoding: DecodingConfig = field(default=DecodingConfig(), metadata=formerly("search"))
    """How captions are decoded; pre-training knows no prompt."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AnsweringConfig:
    """How questions are answered (BLIP, section 5.3)."""

    answers: Annotated[str | None, NOT_EMPTY] = None
    """A file of candidate answers, of which the likeliest is chosen; none writes answers freely."""
    candidates: Annotated[int, COUNT] = 128
    """k: how many of these are compared whole, those whose first tokens are likeliest."""
    decoding: DecodingConfig = DecodingConfig(kind="beam", beams=3, min_length=1, max_length=10)
    """How answers are written, as in the original release."""

    def __post_init__(self) -> None:
        """Refuse values out of range, and answers that are drawn."""
        check_fields(self)
        if self.decoding.kind == "nucleus":
            raise RangeError("decoding.kind", "nucleus", "beam, greedy")


@dataclass(frozen=True, kw_only=True, slots=True)
class QuestionValidationConfig(HeldOutConfig):
    """Held-out images with all questions about them."""

    images: Annotated[int, COUNT] = 1000
    """Most images that are read, from the first on."""
    batch_size: Annotated[int, BATCH_SIZE] = 64
    """Images, and questions, at a time."""
    answering: AnsweringConfig = AnsweringConfig()

    @property
    def inputs(self) -> tuple[str, ...]:
        """Files and folders that the validation reads."""
        answers = self.answering.answers
        return self.shards if answers is None else (*self.shards, answers)


@dataclass(frozen=True, kw_only=True, slots=True)
class PairValidationConfig(HeldOutConfig):
    """Held-out pairs of images with all statements about them."""

    pairs: Annotated[int, COUNT] = 1000
    """Most pairs that are read, from the first on."""
    batch_size: Annotated[int, BATCH_SIZE] = 32
    """Pairs at a time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DialogueValidationConfig(HeldOutConfig):
    """Held-out images with the dialogues about them."""

    images: Annotated[int, COUNT] = 200
    """Most images that are read, from the first on, each with its whole dialogue."""
    batch_size: Annotated[int, BATCH_SIZE] = 16
    """Images, and rounds with all their candidates, at a time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig:
    """The figures of one checkpoint on one split."""

    checkpoint: Annotated[str, NOT_EMPTY]
    data: tuple[str, ...]
    """Tars, tables or folders of pictures, with true captions."""
    task: Annotated[str | None, NOT_EMPTY] = field(default=None, metadata=added())
    """What to measure, a name in `tasks/table.py`; none is all that the checkpoint can do."""
    retrieval: RetrievalEvaluationConfig = RetrievalEvaluationConfig()
    captioning: DecodingConfig = DecodingConfig()
    meteor: bool = field(default=False, metadata=added())
    """Whether captions are scored by METEOR, too, which needs Java."""
    spice: bool = field(default=False, metadata=added())
    """Whether captions are scored by SPICE, too, which needs Java and models of its own."""
    answering: AnsweringConfig = field(default=AnsweringConfig(), metadata=added())
    frames: Annotated[int | None, FRAMES] = field(default=None, metadata=added())
    """Evenly spaced frames of each video; None means 8 for retrieval and 16 for questions."""
    write_answers: bool = field(default=False, metadata=added())
    """Whether the decoder of a model for dialogues writes an answer to every round, too."""
    batch_size: Annotated[int, BATCH_SIZE] = 64
    """Images that are captioned together, or pairs of which statements are judged."""
    max_pixels: Annotated[int, COUNT] = MAX_PIXELS
    """Width times height of the largest picture that is read."""
    device: Annotated[str, DEVICE] = "auto"
    """auto, cpu, cuda or cuda:N."""
    precision: PrecisionChoice = "auto"
    """Number format of the model; auto is bfloat16 on a GPU that has it, else float32."""

    def __post_init__(self) -> None:
        """Refuse a split without shards, and batches of none."""
        check_fields(self)
        if not self.data:
            raise ValueError("data must name at least one shard")


def check_captioning(config: EvaluateConfig, model: ModelConfig) -> None:
    """Raise RangeError where captions may become longer than the model's positions.

    Raises UsageError if METEOR or SPICE is asked for on a machine that lacks what it needs.
    """
    if config.spice and (reason := lacking_for_spice()) is not None:
        raise UsageError(reason)
    if config.meteor and shutil.which("java") is None:
        raise UsageError("METEOR needs Java, and there is no `java` on this machine; install it")
    check_length(model.text, "captioning.max_length", config.captioning.max_length)


def check_answering(config: EvaluateConfig, model: ModelConfig) -> None:
    """Raise RangeError for answers longer than the model's positions, and for a missing file.

    Raises UsageError for a file that `read_candidates` refuses: data take long to read.
    """
    check_answers(config.answering, model, "answering")
    if config.answering.answers is not None:
        read_candidates(home_path(config.answering.answers))


def check_answers(config: AnsweringConfig, model: ModelConfig, name: str) -> None:
    """As `check_answering`, for the configuration that is called `name`."""
    check_length(model.text, f"{name}.decoding.max_length", config.decoding.max_length)
    if config.answers is not None and not home_path(config.answers).is_file():
        raise RangeError(f"{name}.answers", repr(config.answers), "an existing file of answers")


def check_written_answers(config: EvaluateConfig, model: ModelConfig) -> None:
    """Raise UsageError where answers are to be written and the model has no decoder.

    Raises RangeError if they may become longer than the model's positions.
    """
    if not config.write_answers:
        return
    if "causal" not in model.modes:
        raise UsageError(
            f"--write-answers: {config.checkpoint} has no text decoder; train one with "
            "--language.label_smoothing 0.1, or leave it out"
        )
    check_length(model.text, "answering.decoding.max_length", config.answering.decoding.max_length)
