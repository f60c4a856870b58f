"""Hyper-parameters of the three losses; the defaults are the paper's."""

from dataclasses import dataclass
from typing import Annotated, Literal

from blip.config.ranges import COUNT_OR_NONE, NOT_NEGATIVE, SHARE_BELOW_ONE, check_fields


@dataclass(frozen=True, kw_only=True, slots=True)
class ContrastiveConfig:
    """Image-text contrastive loss with momentum encoders (BLIP 3.2; ALBEF 3.3)."""

    momentum: Annotated[float, SHARE_BELOW_ONE] = 0.995
    """Decay of the moving average at each step."""
    queue_size: Annotated[int, COUNT_OR_NONE] = 57_600
    """Number of recent momentum features to use as additional negatives."""
    alpha: Annotated[float, SHARE_BELOW_ONE] = 0.4
    """Weight of the momentum encoders' own soft targets."""
    alpha_epochs: Annotated[float, NOT_NEGATIVE] = 2.0
    """Epochs over which `alpha` grows linearly from 0."""
    positives: Literal["pair", "image"] = "pair"
    """Which candidates match an image: only its own text (the published pre-training), or every
    text of the same image in batch and queue (the published retrieval fine-tuning)."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_fields(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class LanguageConfig:
    """Language-modelling loss (BLIP, section 3.2)."""

    label_smoothing: Annotated[float, SHARE_BELOW_ONE] = 0.1

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_fields(self)
