"""Complete configurations of training runs; loads no torch."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, ClassVar, Protocol

from blip.config.ranges import (
    COUNT,
    NOT_EMPTY,
    SHARE_BELOW_ONE,
    Range,
    RangeError,
    check_fields,
)
from blip.config.strict import added
from blip.data.config import DataConfig
from blip.evaluation.config import (
    DialogueValidationConfig,
    PairValidationConfig,
    QuestionValidationConfig,
    ValidationConfig,
)
from blip.model.config import ModelConfig, check_length
from blip.objectives.config import ContrastiveConfig, LanguageConfig
from blip.outputs import Kind, training_kind
from blip.train.config import TrainConfig

FREE_TO_CHANGE = {
    "train.checkpoint_every": "when the state is written down changes no weight",
    "train.keep_checkpoints": "how many are kept changes no weight",
    "train.log_every": "what is logged changes no weight",
    "train.tensorboard": "where it is shown changes no weight",
    "train.wandb": "where it is shown changes no weight",
    "train.evaluate_every": "an evaluation reads the weights alone",
    "validation": "it reads the weights and does not change them",
    "train.max_nonfinite": "when a run gives up changes no update that it makes",
    "train.device": "the same sums are computed elsewhere",
    "train.parallel": "the same sums are computed by other processes",
    "train.recompute": "the same values are computed twice instead of kept",
    "train.compile": "the same operations are fused",
    "data.workers": "batch `i` does not depend on who decodes it",
    "data.cache": "copies of the same shards lie elsewhere",
    "data.cache_gigabytes": "how many copies are kept changes no batch",
    "data.max_bad": "when a run gives up changes no batch that it sees",
}
"""Keys that may differ when a run is resumed, and why its result is still of one configuration."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """What a training run does with what it finds in its folder."""

    allow_change: bool = False
    """Resume with another configuration than before; config.json then keeps all of them."""
    overwrite: bool = False
    """Replace what was made with another configuration, instead of refusing to."""
    start: Path | None = None
    """A checkpoint of another run, or its folder, to start from where there is none yet."""


class TrainingConfig(Protocol):
    """What every task's configuration of a training run has, a dataclass."""

    kind: ClassVar[Kind]
    """The kind of run folder that it makes."""

    @property
    def data(self) -> DataConfig:
        """What is trained on."""
        ...

    @property
    def train(self) -> TrainConfig:
        """For how long, and how."""
        ...

    @property
    def validation(self) -> "HeldOut | None":
        """What the model is measured by on the way."""
        ...

    @property
    def inputs(self) -> tuple[str, ...]:
        """Checkpoints, tokenizers and weights that the run reads, beside its data."""
        ...


class HeldOut(Protocol):
    """What every validation of a training has."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Files and folders that it reads."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainConfig:
    """Pre-training with ITC + ITM + LM (BLIP, section 3.2)."""

    kind: ClassVar[Kind] = training_kind("pretrain", "blip pretrain")
    model: ModelConfig
    """Its vocabulary size must be the tokenizer's."""
    tokenizer: str
    """A vocab.txt, a tokenizer.json, a folder that holds one, or a hub name."""
    data: DataConfig
    train: TrainConfig
    contrastive: ContrastiveConfig = ContrastiveConfig()
    language: LanguageConfig = LanguageConfig()
    init: str | None = None
    """A checkpoint whose weights to start from; None starts a fresh model."""
    vision_weights: str | None = None
    """A ViT in timm's key layout, for the image encoder of a fresh model; None initialises it."""
    text_weights: str | None = None
    """A BERT in Hugging Face's key layout, for the text transformer of a fresh model."""
    weights_lr_scale: Annotated[float, Range(above=0, most=1)] = field(
        default=1.0, metadata=added()
    )
    """By what the learning rate is multiplied for weights from `vision_weights` and `text_weights`;
    what is fresh learns at the whole rate. Short trainings want it below 1."""
    validation: ValidationConfig | None = None
    """Held-out pairs to measure the model by on the way."""

    def __post_init__(self) -> None:
        """Refuse two origins of the same weights, and a validation that is never made."""
        check_fields(self)
        check_lr_scale(self.weights_lr_scale, self.vision_weights, self.text_weights)
        _check_validation(self.validation, self.train)
        _check_image_size(self.data.image.size, self.model.vision.image_size)
        check_length(self.model.text, "data.max_tokens", self.data.max_tokens)
        if self.validation is not None:
            longest = self.validation.decoding.max_length
            check_length(self.model.text, "validation.decoding.max_length", longest)
        for name in ("vision_weights", "text_weights"):
            if self.init is not None and getattr(self, name) is not None:
                raise ValueError(
                    f"{name} is for a fresh model, and init {self.init} is a whole one: "
                    f"give one of them, or none for {name}, got {getattr(self, name)}"
                )

    @property
    def inputs(self) -> tuple[str, ...]:
        """What else the run reads."""
        places = (self.init, self.tokenizer, self.vision_weights, self.text_weights)
        return tuple(place for place in places if place is not None)


@dataclass(frozen=True, kw_only=True, slots=True)
class FinetuneConfig:
    """What every fine-tuning starts from and is made with."""

    init: str
    """The pre-trained checkpoint."""
    data: DataConfig
    train: TrainConfig

    @property
    def inputs(self) -> tuple[str, ...]:
        """What else the run reads."""
        return (self.init,)


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionerConfig(FinetuneConfig):
    """Fine-tuning of a captioner with LM (BLIP, section 3.3)."""

    kind: ClassVar[Kind] = training_kind("captioner", "blip finetune captioner")
    language: LanguageConfig = LanguageConfig()
    validation: ValidationConfig | None = None
    """Held-out images to measure its captions by on the way."""

    def __post_init__(self) -> None:
        """Refuse a validation that is never made, and one with another prompt."""
        _check_validation(self.validation, self.train)
        given = "" if self.validation is None else self.validation.decoding.prompt
        if given not in ("", self.data.prompt):
            raise ValueError(
                f"validation.decoding.prompt must be empty or data.prompt {self.data.prompt!r}, "
                f"got {given!r}"
            )

    @property
    def prompted_validation(self) -> ValidationConfig | None:
        """The validation, whose captions start with the prompt of the training."""
        if self.validation is None:
            return None
        decoding = replace(self.validation.decoding, prompt=self.data.prompt)
        return replace(self.validation, decoding=decoding)


@dataclass(frozen=True, kw_only=True, slots=True)
class FilterConfig(FinetuneConfig):
    """Fine-tuning of a filter, or of a retrieval model, with ITC + ITM (BLIP 3.3, 5.1)."""

    kind: ClassVar[Kind] = training_kind("filter", "blip finetune filter")
    contrastive: ContrastiveConfig = ContrastiveConfig(positives="image")
    validation: ValidationConfig | None = None
    """Held-out pairs to measure its recalls by on the way."""

    def __post_init__(self) -> None:
        """Refuse a validation that is never made."""
        _check_validation(self.validation, self.train)


@dataclass(frozen=True, kw_only=True, slots=True)
class VqaConfig(FinetuneConfig):
    """Fine-tuning of a model for questions with answer-weighted LM (BLIP, section 5.3)."""

    kind: ClassVar[Kind] = training_kind("vqa", "blip finetune vqa")
    init: str
    """The pre-trained MED, or a model for questions to train further."""
    data: DataConfig
    """Shards, files or tables that ask questions; max_tokens cuts questions and answers."""
    language: LanguageConfig = LanguageConfig()
    drop_path: Annotated[float, SHARE_BELOW_ONE] = 0.1
    """Stochastic depth of the last layer of the image encoder, as in the paper."""
    validation: QuestionValidationConfig | None = None
    """Held-out questions to measure its accuracy by on the way."""

    def __post_init__(self) -> None:
        """Refuse a validation that is never made, a prompt, and numbers out of range."""
        check_fields(self)
        _check_validation(self.validation, self.train)
        if self.data.prompt:
            raise ValueError(f"data.prompt must be empty for questions, got {self.data.prompt!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class NlvrConfig(FinetuneConfig):
    """Fine-tuning of a model for pairs of images that judges statements (BLIP, section 5.4)."""

    kind: ClassVar[Kind] = training_kind("nlvr", "blip finetune nlvr")
    init: str
    """The pre-trained MED, or a model for pairs to train further; the first six layers of its text
    encoder take the mean of what both images give, only further ones have a merge layer."""
    data: DataConfig
    """Shards, files or tables with statements about pairs of images."""
    swap: bool = True
    """Let half the pairs change places where the statement says neither left nor right."""
    drop_path: Annotated[float, SHARE_BELOW_ONE] = 0.1
    """Stochastic depth of the last layer of the image encoder, as in the paper."""
    validation: PairValidationConfig | None = None
    """Held-out statements to measure its accuracy by on the way."""

    def __post_init__(self) -> None:
        """Refuse a validation that is never made, a prompt, and numbers out of range."""
        check_fields(self)
        _check_validation(self.validation, self.train)
        if self.data.prompt:
            raise ValueError(f"data.prompt must be empty for statements, got {self.data.prompt!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class VisdialConfig(FinetuneConfig):
    """Fine-tuning of a model for dialogues with an ITM loss on answers (BLIP, section 5.5)."""

    kind: ClassVar[Kind] = training_kind("visdial", "blip finetune visdial")
    init: str
    """The pre-trained MED, or a model for dialogues to train further."""
    data: DataConfig
    """Shards or files of dialogues; max_tokens cuts a dialogue so far, the question included."""
    negatives: Annotated[int, COUNT] = 7
    """Wrong answers that are drawn for each question, of its other options."""
    language: LanguageConfig | None = None
    """Trains a decoder that writes answers beside the encoder that ranks them; none: ranks alone,
    as in the paper."""
    drop_path: Annotated[float, SHARE_BELOW_ONE] = 0.0
    """Stochastic depth of the last layer of the image encoder."""
    validation: DialogueValidationConfig | None = None
    """Held-out dialogues to measure its ranks by on the way."""

    def __post_init__(self) -> None:
        """Refuse a validation that is never made, a prompt, and numbers out of range."""
        check_fields(self)
        _check_validation(self.validation, self.train)
        if self.data.prompt:
            raise ValueError(f"data.prompt must be empty for dialogues, got {self.data.prompt!r}")


def check_lr_scale(scale: float, *weights: str | None) -> None:
    """Raise RangeError for a scale of the rate of weights that there are not."""
    if scale != 1.0 and not any(weights):
        raise RangeError("weights_lr_scale", scale, "1.0 without vision_weights and text_weights")


def _check_validation(validation: object, train: TrainConfig) -> None:
    if (validation is None) != (train.evaluate_every is None):
        raise ValueError(
            "validation.shards and train.evaluate_every go together, and only "
            f"{'the second' if validation is None else 'the first'} is given"
        )


def _check_image_size(data: int, model: int) -> None:
    if data != model:
        raise ValueError(f"data.image.size must be model.vision.image_size {model}, got {data}")


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerConfig:
    """Where a tokenizer comes from: a file or the hub, or else the texts of some shards."""

    source: Annotated[str | None, NOT_EMPTY]
    texts: tuple[str, ...]
    """Shards to learn from; read only without `source`."""
    vocabulary_size: Annotated[int, COUNT]

    def __post_init__(self) -> None:
        """Refuse an empty name and a bound below one."""
        check_fields(self)
