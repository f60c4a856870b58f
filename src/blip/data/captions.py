"""How a caption is cleaned before a model reads it."""

import re

_DROPPED = re.compile(r"[.!\"()*#:;~]")
_BLANKS = re.compile(r"\s+")
MAX_WORDS = 50


def clean_caption(text: str, max_words: int = MAX_WORDS) -> str:
    """Lower case, `. ! " ( ) * # : ; ~` to blanks, single blanks, at most `max_words` words.

    This is what the released models were trained on; the result may be empty.
    """
    words = _BLANKS.sub(" ", _DROPPED.sub(" ", text.lower())).strip().split(" ")
    return " ".join(words[:max_words])
