"""Greedy decoding: always the likeliest next token."""

from jaxtyping import Int
from torch import Tensor

from blip.generation.config import SearchConfig
from blip.generation.decoder import Decoder
from blip.generation.rowwise import extend_rows


def greedy(
    decoder: Decoder, prompt: Int[Tensor, "rows length"], eos_id: int, config: SearchConfig
) -> list[list[int]]:
    """The ids of each row behind the prompt, without the end token."""
    return extend_rows(
        decoder, prompt, eos_id, config, lambda logits, rows, step: logits.argmax(dim=1)
    )
