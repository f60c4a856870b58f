"""How a dialogue about an image becomes the tokens of a model."""

from collections.abc import Sequence
from itertools import islice

from blip.data.captions import clean_caption
from blip.data.dialogues import Turn
from blip.data.questions import clean_question
from blip.data.tokenizer import Texts, Tokenizer

DIALOGUE_TOKENS = 256
"""Longest dialogue, unless another limit is given; the longest of VisDial's val has 230."""
ANSWER_TOKENS = 32
"""Longest answer with both ends; one of 3 000 in VisDial is longer."""
CAPTION_TOKENS = 40
"""Longest caption with both ends."""


def ask(question: str) -> str:
    """The question as a model reads it: cleaned, with one question mark at its end."""
    return f"{clean_question(question).rstrip('? ')}?"


def encode_turns(tokenizer: Tokenizer, turns: Sequence[Turn], longest: int) -> Texts:
    """`[CLS] question? answer [SEP] ... question? [SEP]`, at most `longest` tokens each.

    Of a dialogue that is longer the oldest rounds are left out, of a question its end.
    """
    pieces = [
        piece
        for turn in turns
        for piece in (
            *(f"{ask(question)} {clean_question(answer)}" for question, answer in turn.history),
            ask(turn.question),
        )
    ]
    encoded = tokenizer.backend.encode_batch(pieces, add_special_tokens=False)
    each = (encoding.ids for encoding in encoded)
    rows: list[list[int]] = []
    for turn in turns:
        *history, question = islice(each, len(turn.history) + 1)
        row = [*question[: longest - 2], tokenizer.sep_id]
        for before in reversed(history):
            if 1 + len(before) + 1 + len(row) > longest:
                break
            row = [*before, tokenizer.sep_id, *row]
        rows.append([tokenizer.cls_id, *row])
    return tokenizer.pad(rows)


def encode_answers(tokenizer: Tokenizer, answers: Sequence[str], longest: int) -> Texts:
    """`[CLS] answer [SEP]`; a model reads them with `[ENC]` or `[DEC]` as the first token."""
    return tokenizer.encode([clean_question(answer) for answer in answers], longest)


def encode_captions(tokenizer: Tokenizer, captions: Sequence[str]) -> Texts:
    """`[CLS] caption [SEP]`."""
    return tokenizer.encode([clean_caption(caption) for caption in captions], CAPTION_TOKENS)
