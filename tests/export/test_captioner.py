"""An exported model writes the captions of its checkpoint, token by token."""

import pytest

from blip.errors import ArgumentError, UsageError
from blip.export.captioner import OnnxCaptioner
from blip.generation.config import DecodingConfig
from blip.inference.captioner import Captioner
from tests.support.exported_models import Exported

DECODINGS = {
    "greedy": (DecodingConfig(kind="greedy", min_length=2), 1),
    "beam": (DecodingConfig(beams=4, min_length=2, repetition_penalty=1.2), 3),
    "nucleus": (DecodingConfig(kind="nucleus", min_length=2, prompt="a red"), 2),
}


@pytest.mark.parametrize("kind", DECODINGS)
def test_captions_and_likelihoods(kind: str, exported: Exported) -> None:
    decoding, count = DECODINGS[kind]
    ours, other = OnnxCaptioner.load(exported.folder), Captioner.load(exported.checkpoint)
    found, expected = (
        one.scored_captions(exported.pictures, count, decoding, batch_size=3)
        for one in (ours, other)
    )
    assert [[c.text for c in row] for row in found] == [[c.text for c in row] for row in expected]
    assert [[c.tokens for c in row] for row in found] == [[c.tokens for c in r] for r in expected]
    for row, same in zip(found, expected, strict=True):
        for one, caption in zip(row, same, strict=True):
            assert one.log_likelihood == pytest.approx(caption.log_likelihood, abs=1e-3)
    # Texts that end early leave the batch, and pictures have different ones.
    assert len({caption.tokens for row in found for caption in row}) > 1
    assert len({row[0].text for row in found}) > 1


def test_arguments_are_checked_as_in_torch(exported: Exported) -> None:
    captioner = OnnxCaptioner.load(exported.folder)
    with pytest.raises(ArgumentError, match="images must be a list of pictures"):
        captioner.caption(str(exported.pictures[0]))
    with pytest.raises(UsageError, match="no more positions"):
        captioner.caption(exported.pictures, DecodingConfig(max_length=33))
