"""Decoding, as a configuration names it, over the keys and values of pictures or questions."""

from collections.abc import Sequence
from typing import assert_never

import torch

from blip.data.tokenizer import Tokenizer
from blip.errors import ArgumentError
from blip.generation.beam import beam_search
from blip.generation.config import SearchConfig
from blip.generation.greedy import greedy
from blip.generation.nucleus import nucleus
from blip.inference.inputs import check_text
from blip.model.blip import Blip
from blip.model.config import TextConfig, check_length
from blip.model.decoding import DecodingSession
from blip.model.question import QuestionModel
from blip.nn.kv import ImageKV, ImageStates


def rows_of_each(search: SearchConfig, count: int) -> int:
    """Rows that are decoded at a time for each picture, where it gets `count` texts."""
    match search.kind:
        case "greedy":
            return 1
        case "beam":
            return search.beams
        case "nucleus":
            return count
        case _ as never:
            assert_never(never)


def start_of_text(
    model: Blip | QuestionModel, tokenizer: Tokenizer, search: SearchConfig
) -> list[int]:
    """The ids that every text starts with: the start token and the prompt.

    Raises ArgumentError where they leave no room for a text, or the model has too few positions.
    """
    return start_within(model.config.text, tokenizer, search)


def start_within(sizes: TextConfig, tokenizer: Tokenizer, search: SearchConfig) -> list[int]:
    """The same for a model of such sizes, before it is built."""
    check_length(sizes, "max_length", search.max_length)
    check_text("prompt", search.prompt)
    start = tokenizer.encode_prompt(search.prompt)
    if len(start) >= search.max_length:
        raise ArgumentError(
            f"the prompt {search.prompt!r} has {len(start)} tokens, the start token included; "
            f"max_length must be greater, got {search.max_length}"
        )
    return start


def decode_texts(
    model: Blip | QuestionModel,
    kv: ImageKV | ImageStates,
    start_ids: Sequence[int],
    eos_id: int,
    search: SearchConfig,
    *,
    count: int = 1,
    seeds: Sequence[int] = (),
) -> list[list[int]]:
    """The ids behind `start_ids` of `count` texts for each picture or question; greedily, of one.

    Nucleus sampling takes a seed for each text, picture by picture. Raises what decoding raises.
    """
    prompt = torch.tensor([list(start_ids)], device=model.device).expand(len(kv), -1)
    copies = rows_of_each(search, count)
    session = DecodingSession(model, kv, copies=copies)
    match search.kind:
        case "greedy":
            return greedy(session, prompt, eos_id, search)
        case "beam":
            return beam_search(session, prompt, eos_id, search, count)
        case "nucleus":
            rows = prompt.repeat_interleave(copies, dim=0)
            return nucleus(session, rows, eos_id, search, seeds)
        case _ as never:
            assert_never(never)
