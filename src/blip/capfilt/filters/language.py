"""The language that a text is in, by an optional library."""

import functools
from collections.abc import Callable, Sequence

from blip.errors import UsageError


def tell_languages(texts: Sequence[str]) -> list[str]:
    """Two letters (ISO 639-1) for each text; of a text of a word or two, little more than a guess.

    Raises UsageError where the library is missing.
    """
    classify = _classifier()
    return [classify(text) for text in texts]


@functools.cache
def _classifier() -> Callable[[str], str]:
    try:
        from py3langid import classify
    except ImportError as error:
        raise UsageError(
            "languages are told apart by py3langid: pip install 'blip[language]'"
        ) from error
    return lambda text: str(classify(text)[0])
