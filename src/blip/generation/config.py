"""How texts are decoded; loads no torch."""

from dataclasses import dataclass
from typing import Literal

from blip.config.ranges import COUNT, TOKENS, Range, RangeError, check_plain

MOST_BEAMS = 1000
MOST_CAPTIONS = 1000
"""Of one image."""
_FACTOR = Range(least=1e-3, most=1e3)
"""What logits are multiplied or divided by: further out they overflow."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodingConfig:
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
    """Beam search: an image is done once `beams` texts have ended (true), once no hypothesis, ended
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
        Range(whole=True, least=1, most=MOST_BEAMS).check(self, "beams")
        Range(above=0, most=1).check(self, "top_p")
        COUNT.check(self, "top_k")
        _FACTOR.check(self, "temperature", "repetition_penalty")
        Range(least=-10, most=10).check(self, "length_penalty")
        Range(whole=True, least=2, most=TOKENS.most).check(self, "max_length")
        Range(whole=True, least=0, most=self.max_length).check(self, "min_length")
        check_plain(self, "prompt")


def check_captions(captions: int, decoding: DecodingConfig) -> None:
    """Raise RangeError where decoding so cannot write that many captions of an image."""
    most = {"greedy": 1, "beam": decoding.beams}.get(decoding.kind, MOST_CAPTIONS)
    if not Range(whole=True, least=0, most=most).holds(captions):
        why = {
            "greedy": ", as greedy decoding writes one",
            "beam": f", as beam search keeps {most}",
        }
        allowed = f"a whole number from 0 to {most}{why.get(decoding.kind, '')}"
        raise RangeError("captions", captions, allowed)
