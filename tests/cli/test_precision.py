"""`--precision` of the verbs that ask a model once."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from blip.cli.main import main
from blip.data.tokenizer import Tokenizer
from blip.inference import base
from blip.inference.checkpoint import save_model
from blip.model.make import make_model
from tests.support.tiny import TINY
from tests.support.tiny_data import SENTENCE


@pytest.mark.parametrize(
    ("verb", "architecture", "texts"),
    [
        ("caption", "med", []),
        ("match", "med", ["a red star"]),
        ("ask", "vqa", ["is it a star?"]),
    ],
)
def test_the_model_is_opened_in_the_format_that_is_asked_for(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    verb: str,
    architecture: str,
    texts: list[str],
) -> None:
    tokenizer = Tokenizer.train([SENTENCE] * 3, vocabulary_size=200)
    text = replace(TINY.text, vocabulary_size=tokenizer.vocabulary_size)
    save_model(make_model(replace(TINY, text=text, architecture=architecture)), tokenizer, tmp_path)
    noise = np.random.default_rng(0).integers(0, 255, (40, 56, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "picture.png")
    opened, real = [], base.load_model

    def noting(*given, **more):
        opened.append(real(*given, **more))
        return opened[-1]

    monkeypatch.setattr(base, "load_model", noting)
    asked = [verb, str(tmp_path), str(tmp_path / "picture.png"), *texts, "--device", "cpu"]
    for more in ([], ["--precision", "float32"], ["--precision", "bfloat16"]):
        assert main([*asked, *more]) == 0
        assert capsys.readouterr().out.count("\n") == 1
    assert [loaded.model.dtype for loaded in opened] == [
        torch.float32,
        torch.float32,
        torch.bfloat16,
    ]
    assert main([*asked, "--precision", "float8"]) == 2
