"""Numbers of the three losses; the defaults are the paper's."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class ContrastiveConfig:
    """Image-text contrastive loss with momentum encoders (BLIP 3.2; ALBEF 3.3)."""

    momentum: float = 0.995
    """How much of the momentum encoders stays at each step."""
    queue_size: int = 57_600
    """Recent momentum features that serve as further negatives."""
    alpha: float = 0.4
    """Weight of the momentum encoders' own soft targets."""
    alpha_epochs: float = 2.0
    """Epochs over which `alpha` grows linearly from 0."""
    positives: Literal["pair", "image"] = "pair"
    """What counts as a match: the pair alone (the published pre-training), or every text of the
    same image in batch and queue (the published retrieval fine-tuning)."""

    def __post_init__(self) -> None:
        """Refuse numbers that cannot work."""
        if not 0.0 <= self.momentum < 1.0:
            raise ValueError(f"momentum must lie in [0, 1), got {self.momentum}")
        if self.queue_size < 0:
            raise ValueError(f"queue_size must not be negative, got {self.queue_size}")
        if not 0.0 <= self.alpha < 1.0:
            raise ValueError(f"alpha must lie in [0, 1), got {self.alpha}")
        if self.alpha_epochs < 0.0:
            raise ValueError(f"alpha_epochs must not be negative, got {self.alpha_epochs}")


@dataclass(frozen=True, kw_only=True, slots=True)
class LanguageConfig:
    """Language-modelling loss (BLIP, section 3.2)."""

    label_smoothing: float = 0.1

    def __post_init__(self) -> None:
        """Refuse a smoothing that is no share."""
        if not 0.0 <= self.label_smoothing < 1.0:
            raise ValueError(f"label_smoothing must lie in [0, 1), got {self.label_smoothing}")
