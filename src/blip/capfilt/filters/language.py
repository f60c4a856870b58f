"""The language that a text is in, by an optional library."""

import functools
from collections.abc import Callable, Sequence

from blip.installed import need


def detect_languages(texts: Sequence[str]) -> list[str]:
    """Two letters (ISO 639-1) for each text; for a text of one or two words it is a guess.

    Raises UsageError if the library is missing.
    """
    classify = _classifier()
    return [classify(text) for text in texts]


@functools.cache
def _classifier() -> Callable[[str], str]:
    classify = need("py3langid", "py3langid, which detects languages,", "language").classify
    return lambda text: str(classify(text)[0])
