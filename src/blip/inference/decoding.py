"""Decode texts about pictures, or answers to questions, in the way that a configuration names."""

from collections.abc import Sequence
from typing import assert_never

import torch
from jaxtyping import Int
from torch import Tensor

from blip.data.tokenizer import Tokenizer
from blip.errors import ArgumentError
from blip.generation.beam import beam_search
from blip.generation.config import DecodingConfig
from blip.generation.decoder import Decoder
from blip.generation.greedy import greedy
from blip.generation.nucleus import nucleus
from blip.inference.inputs import check_text
from blip.inference.static_steps import StepPool
from blip.model.config import TextConfig, check_length
from blip.model.decoding import DecodingSession
from blip.model.grounded import EncoderDecoder
from blip.nn.kv import ImageKV, ImageStates


def rows_of_each(decoding: DecodingConfig, count: int) -> int:
    """Rows that are decoded together for each picture, where it gets `count` texts."""
    match decoding.kind:
        case "greedy":
            return 1
        case "beam":
            return decoding.beams
        case "nucleus":
            return count
        case _ as never:
            assert_never(never)


def start_of_text(
    model: EncoderDecoder, tokenizer: Tokenizer, decoding: DecodingConfig, name: str = ""
) -> list[int]:
    """The ids that every text starts with: the start token and the prompt.

    `name` is the key of `decoding` in a larger configuration, which errors then name. Raises
    ArgumentError if the start leaves no room for a text, RangeError if the model has too few
    positions.
    """
    return start_within(model.config.text, tokenizer, decoding, name)


def start_within(
    sizes: TextConfig, tokenizer: Tokenizer, decoding: DecodingConfig, name: str = ""
) -> list[int]:
    """`start_of_text` for a model of these sizes, before it is built."""
    prefix = f"{name}." if name else ""
    check_length(sizes, f"{prefix}max_length", decoding.max_length)
    check_text(f"{prefix}prompt", decoding.prompt)
    start = tokenizer.encode_prompt(decoding.prompt)
    if len(start) >= decoding.max_length:
        raise ArgumentError(
            f"the prompt {decoding.prompt!r} has {len(start)} tokens, the start token included; "
            f"{prefix}max_length must be greater, got {decoding.max_length}"
        )
    return start


def decode_texts(  # noqa: PLR0913 (what is decoded, and how)
    model: EncoderDecoder,
    kv: ImageKV | ImageStates,
    start_ids: Sequence[int],
    eos_id: int,
    decoding: DecodingConfig,
    *,
    count: int = 1,
    seeds: Sequence[int] = (),
    pool: StepPool | None = None,
) -> list[list[int]]:
    """Decode `count` texts for each picture or question (greedy decoding: one).

    Returns the ids of each text after `start_ids`, picture by picture. Nucleus sampling takes a
    seed for each text, in the same order. A `pool` of this model decodes in steps of fixed shapes
    where it `is_used`; the texts are the same. Raises NotFiniteError if the model gives NaN.
    """
    copies = rows_of_each(decoding, count)
    if pool is not None and pool.is_used and isinstance(kv, ImageKV):
        return pool.decode(kv, start_ids, eos_id, decoding, copies=copies, count=count, seeds=seeds)
    prompt = torch.tensor([list(start_ids)], device=model.device).expand(len(kv), -1)
    session = DecodingSession(model, kv, copies=copies)
    return decode_rows(session, prompt, eos_id, decoding, count=count, seeds=seeds)


def decode_rows(
    decoder: Decoder,
    prompt: Int[Tensor, "images length"],
    eos_id: int,
    decoding: DecodingConfig,
    *,
    count: int,
    seeds: Sequence[int],
) -> list[list[int]]:
    """`decode_texts` by a decoder that holds `rows_of_each(decoding, count)` rows of an image."""
    match decoding.kind:
        case "greedy":
            return greedy(decoder, prompt, eos_id, decoding)
        case "beam":
            return beam_search(decoder, prompt, eos_id, decoding, count)
        case "nucleus":
            rows = prompt.repeat_interleave(count, dim=0)
            return nucleus(decoder, rows, eos_id, decoding, seeds)
        case _ as never:
            assert_never(never)
