"""The captioner against the original: loss with the prompt unscored, captions that it writes."""

from typing import Any

import pytest
import torch

from blip.data.examples.pairs import PairBatch
from blip.data.tokenizer import Tokenizer
from blip.generation.config import DecodingConfig
from blip.inference.captioner import Captioner
from blip.model.blip import Blip
from blip.objectives.config import LanguageConfig
from blip.tasks.caption import CaptionStep
from tests.support.vectors import CLOSE, needs_vectors, texts, tiny_model, tokenizer, vectors

pytestmark = needs_vectors

PROMPT = "a picture of "


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    return tokenizer()


@pytest.fixture(scope="module")
def model() -> Blip:
    return tiny_model("captioner", Blip)


def test_the_prompt_is_fed_and_not_scored(model: Blip, words: Tokenizer) -> None:
    golden = vectors("captioner")
    captions = words.encode([PROMPT + text for text in texts()["texts"]], 40)
    batch = PairBatch(golden["images"], captions, torch.arange(6), ())
    step = CaptionStep(model, words, LanguageConfig(), prompt=PROMPT)
    torch.testing.assert_close(step(batch).loss, golden["loss"], **CLOSE)


@pytest.mark.parametrize("fixed_shapes", [False, True])
@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("scored_length", ["new_tokens", "whole_text"])
@pytest.mark.parametrize(("least", "most"), [(5, 20), (8, 12)])
def test_captions_are_the_originals(
    model: Blip,
    words: Tokenizer,
    fixed_shapes: bool,
    beams: int,
    scored_length: Any,
    least: int,
    most: int,
) -> None:
    """Under both rules of scoring: these vectors do not tell them apart."""
    golden, name = vectors("captioner"), f"beams{beams}.min{least}.max{most}"
    decoding = DecodingConfig(
        kind="beam" if beams > 1 else "greedy",
        beams=beams,
        scored_length=scored_length,
        min_length=least,
        max_length=most,
        prompt=PROMPT,
    )
    captioner = Captioner(model, words)
    if fixed_shapes:
        captioner.compile("on")
        # The same passes and steps, as they are: to compile them takes long.
        captioner._passes.failed = captioner._steps.failed = True
    found = captioner.caption(list(golden["images"]), decoding)
    # The prompt is left out; a caption may continue with a piece of its last word.
    expected = [text.removeprefix(PROMPT.strip()).strip() for text in texts()[f"captioner.{name}"]]
    assert found == expected
    ids = golden[f"generate.{name}"]
    for text, row in zip(found, ids.tolist(), strict=True):
        inside = [i for i in row if i not in (words.pad_id, words.sep_id)]
        assert least <= len(inside) + (words.sep_id in row) <= most
        assert words.decode(inside[len(words.encode_prompt(PROMPT)) :]) == text
