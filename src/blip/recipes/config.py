"""The configuration of `blip bootstrap`; loads no torch."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from blip.capfilt.filters.config import FilterRules
from blip.config.ranges import (
    BATCH_SIZE,
    COUNT,
    NOT_EMPTY,
    PROCESSES,
    SEED,
    SHARE,
    PrecisionChoice,
    Range,
    check_fields,
)
from blip.config.strict import added
from blip.data.config import WEIGHT, ImageConfig
from blip.data.scenes.config import ScenesConfig
from blip.evaluation.config import RetrievalEvaluationConfig
from blip.generation.config import DecodingConfig, check_captions
from blip.model.config import ModelConfig, check_length
from blip.objectives.config import ContrastiveConfig, LanguageConfig
from blip.tasks.config import check_lr_scale
from blip.train.config import TrainConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardsConfig:
    """Existing data: tars, tables, folders of images or globs for each split."""

    human: tuple[str, ...]
    """Human-annotated pairs: they train captioner and filter, and are in every training set."""
    web: tuple[str, ...]
    """Noisy pairs, which CapFilt cleans."""
    val: tuple[str, ...]
    """Images with true captions, for validation every `evaluate_every` steps of a training."""
    test: tuple[str, ...]
    """Images with true captions, for the final evaluation."""

    def __post_init__(self) -> None:
        """Refuse a split without shards."""
        for name in ("human", "web", "val", "test"):
            if not getattr(self, name):
                raise ValueError(f"{name} must name at least one shard")


@dataclass(frozen=True, kw_only=True, slots=True)
class BootstrapConfig:
    """Pre-train, fine-tune captioner and filter, CapFilt, pre-train on the kept texts, evaluate.

    `seed` replaces the seeds in all parts.
    """

    data: ScenesConfig | ShardsConfig
    """The built-in scenes, or your own shards, tables or folders of images."""
    model: ModelConfig
    """The tokenizer's vocabulary size replaces the one given here."""
    image: ImageConfig
    pretrain: TrainConfig
    """Pre-training of a fresh model, from `vision_weights` and `text_weights` if they are given."""
    next_pretrain: TrainConfig
    """Pre-training that continues from the last round's weights (`init` previous)."""
    captioner: TrainConfig
    filter: TrainConfig
    tokenizer: Annotated[str | None, NOT_EMPTY] = None
    """A vocab.txt, tokenizer.json, folder or hub name; none: learn one from the training texts."""
    vocabulary_size: Annotated[int, COUNT] = 400
    """Largest size of a learned vocabulary."""
    vision_weights: Annotated[str | None, NOT_EMPTY] = field(default=None, metadata=added())
    """A ViT in timm's key layout, from which a fresh image encoder starts; none: random weights."""
    text_weights: Annotated[str | None, NOT_EMPTY] = field(default=None, metadata=added())
    """A BERT in Hugging Face's key layout, from which a fresh text transformer starts; without
    `tokenizer`, the tokens beside it are taken."""
    weights_lr_scale: Annotated[float, Range(above=0, most=1)] = field(
        default=1.0, metadata=added()
    )
    """By what the learning rate of these weights is multiplied in the pre-training that starts from
    them; what is fresh learns at the whole rate."""
    batch_size: Annotated[int, BATCH_SIZE] = 64
    max_tokens: Annotated[int, Range(whole=True, least=3, most=2**16)] = 30
    human_weight: Annotated[float, WEIGHT] = 1.0
    """How often an epoch of pre-training shows each human pair."""
    contrastive: ContrastiveConfig = ContrastiveConfig()
    language: LanguageConfig = LanguageConfig()
    captions: int = 1
    """Synthetic texts per image."""
    synthesis: DecodingConfig = DecodingConfig(kind="nucleus", top_p=0.9)
    """How synthetic texts are decoded."""
    threshold: Annotated[float, SHARE] = 0.5
    """Texts with a lower ITM probability are dropped."""
    rules: FilterRules = field(default=FilterRules(), metadata=added())
    """What else a text has to obey in CapFilt, such as `rules.min_itc`."""
    capfilt_precision: PrecisionChoice = "auto"
    """Number format of captioner and filter; auto: bfloat16 on a GPU that has it, else float32."""
    rounds: Annotated[int, COUNT] = 1
    """How often to repeat captioner, filter and CapFilt."""
    init: Literal["previous", "fresh"] = "previous"
    """Whether a round continues from the last weights, or pre-trains anew as in the paper."""
    retrieval: RetrievalEvaluationConfig = RetrievalEvaluationConfig()
    captioning: DecodingConfig = DecodingConfig()
    """How the captions of the final evaluation are decoded."""
    parallel: Annotated[int, Range(whole=True, least=1, most=PROCESSES.most)] = 1
    """Most independent trainings to run at the same time, each with its share of the cores."""
    seed: Annotated[int, SEED] = 0

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_fields(self)
        check_captions(self.captions, self.synthesis)
        check_lr_scale(self.weights_lr_scale, self.vision_weights, self.text_weights)
        for name, length in (
            ("max_tokens", self.max_tokens),
            ("synthesis.max_length", self.synthesis.max_length),
            ("captioning.max_length", self.captioning.max_length),
        ):
            check_length(self.model.text, name, length)
        if self.image.size != self.model.vision.image_size:
            raise ValueError(
                f"image.size must be model.vision.image_size {self.model.vision.image_size}, "
                f"got {self.image.size}"
            )
