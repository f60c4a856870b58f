"""CIDEr and BLEU-4 of captions, computed by the reference implementation of COCO captioning."""

import contextlib
import io
import re

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider

_TOKEN = re.compile(r"\w+(?:'\w+)?", re.UNICODE)


def caption_scores(candidates: list[str], references: list[list[str]]) -> dict[str, float]:
    """`cider` and `bleu4`, times 100, of one candidate an image against its references.

    Texts are lower-cased and split into words without punctuation, in place of the reference
    implementation's Java tokenizer. Raises ValueError unless each candidate has references.
    """
    if len(candidates) != len(references):
        raise ValueError(f"{len(candidates)} candidates, but {len(references)} lists of references")
    found = {i: [_words(text)] for i, text in enumerate(candidates)}
    expected = {i: [_words(text) for text in texts] for i, texts in enumerate(references)}
    # The scorers print to stdout, which is for results.
    with contextlib.redirect_stdout(io.StringIO()):
        bleu, _ = Bleu(4).compute_score(expected, found)
        cider, _ = Cider().compute_score(expected, found)
    return {"cider": 100.0 * float(cider), "bleu4": 100.0 * float(bleu[3])}


def _words(text: str) -> str:
    return " ".join(_TOKEN.findall(text.lower()))
