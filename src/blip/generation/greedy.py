"""Greedy decoding: always the most likely next token."""

from jaxtyping import Int
from torch import Tensor

from blip.generation.config import DecodingConfig
from blip.generation.decoder import Decoder, check_nan
from blip.generation.rowwise import extend_rows


def greedy(
    decoder: Decoder, prompt: Int[Tensor, "rows length"], eos_id: int, config: DecodingConfig
) -> list[list[int]]:
    """The ids of each row after the prompt, without the end token.

    Raises NotFiniteError if the model gives logits that are not numbers.
    """
    return extend_rows(decoder, prompt, eos_id, config, _most_likely)


def _most_likely(logits: Tensor, rows: Tensor, step: int) -> Tensor:
    largest, tokens = logits.max(dim=1)
    check_nan(largest)
    return tokens
