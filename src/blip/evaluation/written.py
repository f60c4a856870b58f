"""Whether a written answer is a true one: both are compared as the tokenizer would write them."""

from collections.abc import Iterable

from blip.data.tokenizer import Tokenizer


def is_one_of(tokenizer: Tokenizer, answer: str, true_answers: Iterable[str]) -> bool:
    """Whether an answer equals a true one, in whatever case.

    A decoder writes "t - shirt" and "7 : 30" for "t-shirt" and "7:30", so that the true answers,
    too, are compared as they are decoded from their tokens.
    """
    return _as_written(tokenizer, answer) in [_as_written(tokenizer, one) for one in true_answers]


def _as_written(tokenizer: Tokenizer, text: str) -> str:
    text = " ".join(text.lower().split())
    ids = tokenizer.encode_prompt(text)
    # Unknown words leave nothing behind, and would all be equal.
    return text if tokenizer.unk_id in ids else tokenizer.decode(ids).strip()
