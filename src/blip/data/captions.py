"""How a caption is cleaned before a model reads it."""

import re

from blip.config.ranges import RangeError

_DROPPED = re.compile(r"[.!\"()*#:;~]")
_RUNS = re.compile(r"\s\s+")
MAX_WORDS = 50


def clean_caption(text: str, max_words: int = MAX_WORDS) -> str:
    """Lower case, `. ! " ( ) * # : ; ~` to blanks, runs of white space to one, `max_words` words.

    This is what the released models were trained on, kept to the letter so that they read the same
    tokens: a single tab or line break between words stays, and no word ends there. The result may
    be empty.
    """
    text = _RUNS.sub(" ", _DROPPED.sub(" ", text.lower())).strip()
    return " ".join(text.split(" ")[:max_words])


def check_words(name: str, text: str) -> None:
    """Raise RangeError for a text of which `clean_caption` leaves nothing."""
    if not clean_caption(text):
        raise RangeError(name, repr(text), "a text with words")
