"""CIDEr and BLEU-4 of captions, by the reference implementation of COCO captioning."""

import contextlib
import io
import re

from blip.errors import BlipError

_TOKEN = re.compile(r"\w+(?:'\w+)?", re.UNICODE)


def caption_scores(candidates: list[str], references: list[list[str]]) -> dict[str, float]:
    """`cider` and `bleu4`, times 100, of one candidate an image against its references.

    Texts are lower-cased and cut into words without punctuation, which stands in for the Java
    tokenizer of the reference implementation. Raises BlipError where pycocoevalcap is absent, and
    ValueError unless there are references for each candidate.
    """
    if len(candidates) != len(references):
        raise ValueError(f"{len(candidates)} candidates, but {len(references)} lists of references")
    bleu_class, cider_class = require_scorers()
    found = {i: [_words(text)] for i, text in enumerate(candidates)}
    wanted = {i: [_words(text) for text in texts] for i, texts in enumerate(references)}
    # The scorers print to stdout, which is for results.
    with contextlib.redirect_stdout(io.StringIO()):
        bleu, _ = bleu_class(4).compute_score(wanted, found)
        cider, _ = cider_class().compute_score(wanted, found)
    return {"cider": 100.0 * float(cider), "bleu4": 100.0 * float(bleu[3])}


def require_scorers():
    """The classes Bleu and Cider; raises BlipError naming what to install."""
    try:
        from pycocoevalcap.bleu.bleu import Bleu
        from pycocoevalcap.cider.cider import Cider
    except ImportError as error:
        raise BlipError("pycocoevalcap is required here: pip install 'blip[eval]'") from error
    return Bleu, Cider


def _words(text: str) -> str:
    return " ".join(_TOKEN.findall(text.lower()))
