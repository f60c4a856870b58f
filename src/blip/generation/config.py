"""How texts are searched for; loads no torch."""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchConfig:
    """Decoding; lengths count all tokens, start token and prompt included, as the original does."""

    kind: Literal["greedy", "beam", "nucleus"] = "beam"
    beams: int = 3
    """Beam search: hypotheses kept."""
    length_penalty: float = 1.0
    """Beam search: a sum of log-probabilities is divided by the text's length to this power;
    negative ones favour short texts."""
    scored_length: Literal["new_tokens", "whole_text"] = "new_tokens"
    """Beam search: which length that is, and so when to stop. `new_tokens`: the end token is one of
    them, start token and prompt are not, as transformers does today. `whole_text`: all but the end
    token, as transformers 4.15 did, with which BLIP was released; many captions differ."""
    early_stopping: bool | Literal["never"] = False
    """Beam search: an image is done once `beams` texts have ended (true), once no beginning, ended
    as it is, would beat the worst of them (false: as released), or once none can even if it grew to
    `max_length` at no cost (never)."""
    top_p: float = 0.9
    """Nucleus: mass of the likeliest tokens that are drawn from (BLIP's CapFilt: 0.9)."""
    top_k: int | None = None
    """Nucleus: so many of the likeliest tokens at most, before `top_p` looks at their mass. The
    original release has 50, by a default of its library; none leaves all."""
    temperature: float = 1.0
    """Nucleus: logits are divided by it."""
    min_length: int = 5
    max_length: int = 20
    repetition_penalty: float = 1.0
    """Above 1 makes tokens that stand in the text already less likely (CTRL, Keskar 2019)."""
    prompt: str = ""

    def __post_init__(self) -> None:
        """Refuse numbers that cannot work."""
        if self.beams < 1:
            raise ValueError(f"beams must be positive, got {self.beams}")
        if not 0.0 < self.top_p <= 1.0:
            raise ValueError(f"top_p must lie in (0, 1], got {self.top_p}")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k must be positive or none, got {self.top_k}")
        for name in ("temperature", "repetition_penalty"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if math.isnan(self.length_penalty):
            raise ValueError(f"length_penalty must be a number, got {self.length_penalty}")
        if not 0 <= self.min_length <= self.max_length:
            raise ValueError(
                f"min_length must lie in 0..max_length ({self.max_length}), got {self.min_length}"
            )
        if self.max_length < 2:
            raise ValueError(f"max_length must be at least 2, got {self.max_length}")
