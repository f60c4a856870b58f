"""How texts are decoded: greedy, beam search or nucleus; loads no torch."""

from dataclasses import dataclass
from typing import Annotated, Literal

from blip.config.ranges import COUNT, TOKENS, UTF8, Range, RangeError, check_fields

DecodingKind = Literal["greedy", "beam", "nucleus"]
CompileChoice = Literal["auto", "on", "off"]
MAX_BEAMS = 1000
MAX_CAPTIONS = 1000
"""Of one image."""
_FACTOR = Range(least=1e-3, most=1e3)
"""What logits are multiplied or divided by; with other factors they would overflow."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodingConfig:
    """How texts are decoded.

    Lengths count all tokens, start token and prompt included, as in the original release.
    """

    kind: DecodingKind = "beam"
    """How a text is chosen, token by token."""
    beams: Annotated[int, Range(whole=True, least=1, most=MAX_BEAMS)] = 3
    """Beam search: number of hypotheses kept."""
    length_penalty: Annotated[float, Range(least=-10, most=10)] = 1.0
    """Beam search: the score of a text is the sum of its log-probabilities, divided by its length
    to this power; negative powers favour short texts."""
    scored_length: Literal["new_tokens", "whole_text"] = "new_tokens"
    """Beam search: which tokens that length counts. `new_tokens`: those after the prompt, the end
    token included, as in transformers today. `whole_text`: all but the end token, as in
    transformers 4.15, with which BLIP was released; many captions differ."""
    early_stopping: bool | Literal["never"] = False
    """Beam search: an image is done once `beams` texts have ended (true), once no hypothesis would
    beat the worst of them if it ended now (false, as released), or once none could beat it even at
    `max_length` (never)."""
    top_p: Annotated[float, Range(above=0, most=1)] = 0.9
    """Nucleus: probability mass of the most likely tokens to sample from (BLIP's CapFilt: 0.9)."""
    top_k: Annotated[int | None, COUNT] = None
    """Nucleus: sample from at most this many tokens, applied before `top_p`; none means all. The
    original release has 50, a default of its library."""
    temperature: Annotated[float, _FACTOR] = 1.0
    """Nucleus: logits are divided by it."""
    min_length: int = 5
    """Fewest tokens of a text, start token and prompt included."""
    max_length: Annotated[int, Range(whole=True, least=2, most=TOKENS.most)] = 20
    """Most tokens of a text, start token and prompt included."""
    repetition_penalty: Annotated[float, _FACTOR] = 1.0
    """Above 1 makes tokens that the text already contains less likely (CTRL, Keskar 2019)."""
    prompt: Annotated[str, UTF8] = ""
    """Start of every caption; it is not printed or written."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_fields(self)
        if not Range(whole=True, least=0, most=self.max_length).holds(self.min_length):
            allowed = f"a whole number from 0 to {self.max_length}, the most tokens of a text"
            raise RangeError("min_length", self.min_length, allowed)


def check_captions(captions: int, decoding: DecodingConfig) -> None:
    """Raise RangeError if this decoding cannot write that many captions of an image."""
    most = {"greedy": 1, "beam": decoding.beams}.get(decoding.kind, MAX_CAPTIONS)
    if not Range(whole=True, least=0, most=most).holds(captions):
        why = {
            "greedy": ", as greedy decoding writes one",
            "beam": f", as beam search keeps {most}",
        }
        allowed = f"a whole number from 0 to {most}{why.get(decoding.kind, '')}"
        raise RangeError("captions", captions, allowed)
