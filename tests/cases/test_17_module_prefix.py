"""Weights that DistributedDataParallel, torch.compile or Lightning saved open as they are."""

from pathlib import Path

import pytest
import torch

from blip import load
from blip.cli.main import main
from blip.inference.checkpoint import fingerprint
from tests.support.generators import run_generator
from tests.support.vectors import FOLDER, needs_vectors


@needs_vectors
@pytest.mark.parametrize("name", ["module.pth", "compiled.pth", "lightning.ckpt"])
def test_a_wrapped_captioner_converts_and_computes_the_same(name: str, tmp_path: Path) -> None:
    captioner = (FOLDER / "captioner.pth").absolute()
    run_generator("17-module-prefix", tmp_path, captioner)
    words = str((FOLDER / "tiny_vocab.txt").absolute())
    for source, out in ((captioner, "plain"), (tmp_path / name, "wrapped")):
        given = ["convert", str(source), str(tmp_path / out), "--tokenizer", words]
        assert main([*given, "--heads", "4", "4"]) == 0
    plain, wrapped = (load(tmp_path / out).model for out in ("plain", "wrapped"))
    images = torch.randn(2, 3, 48, 48)
    with torch.inference_mode():
        assert torch.equal(wrapped.encode_image(images), plain.encode_image(images))
    assert fingerprint(tmp_path / "plain") == fingerprint(tmp_path / "wrapped")
