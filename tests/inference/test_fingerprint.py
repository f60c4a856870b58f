"""A fingerprint changes with weights, tokenizer and sizes, and with nothing else."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from blip.data.tokenizer import Tokenizer
from blip.errors import BlipError
from blip.inference.checkpoint import fingerprint, open_checkpoint, save_model
from blip.inference.convert import convert
from blip.model.make import make_model
from tests.support.tiny import TINY

TEXTS = ["a red circle", "two blue stars on grey"]
TOKENIZER = Tokenizer.train(TEXTS, vocabulary_size=60)
# Files of the original release name no heads: they are 64 wide.
SIZES = replace(
    TINY,
    vision=replace(TINY.vision, width=64, heads=1),
    text=replace(
        TINY.text, width=64, heads=1, vocabulary_size=TOKENIZER.vocabulary_size, dropout=0.1
    ),
    projection=256,
    modes=("causal",),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "model"
    path.mkdir()
    save_model(make_model(SIZES), TOKENIZER, path)
    return path


def test_it_changes_with_each_of_the_three(folder: Path) -> None:
    found = [fingerprint(folder)]
    weights, config, words = (
        folder / name for name in ("model.safetensors", "config.json", "tokenizer.json")
    )
    tensors = load_file(weights)
    tensors["vision.norm.bias"] = tensors["vision.norm.bias"].clone()
    tensors["vision.norm.bias"][5] += 1e-6
    save_file(tensors, weights)
    found.append(fingerprint(folder))

    sizes = json.loads(config.read_text())
    sizes["vision"]["norm_eps"] = 1e-5
    config.write_text(json.dumps(sizes))
    found.append(fingerprint(folder))

    # As many tokens, of which two have changed places.
    tokens = json.loads(words.read_text())
    vocabulary = tokens["model"]["vocab"]
    vocabulary["red"], vocabulary["blue"] = vocabulary["blue"], vocabulary["red"]
    words.write_text(json.dumps(tokens))
    found.append(fingerprint(folder))

    tokens["normalizer"]["lowercase"] = False
    words.write_text(json.dumps(tokens))
    found.append(fingerprint(folder))
    assert len(set(found)) == 5
    assert {len(one) for one in found} == {20}


def test_it_depends_on_no_name_time_or_layout(folder: Path, tmp_path: Path) -> None:
    before = fingerprint(folder)
    os.utime(folder / "model.safetensors", (0, 0))
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()), indent=7))
    assert fingerprint(folder) == before
    assert fingerprint(folder / "model.safetensors") == before
    convert(folder, tmp_path / "other" / "name.pth", "original")
    TOKENIZER.save(tmp_path / "other")
    assert fingerprint(tmp_path / "other" / "name.pth") == before


def test_it_is_of_what_was_read_whatever_becomes_of_the_files(folder: Path) -> None:
    checkpoint = open_checkpoint(folder)
    before = checkpoint.fingerprint()
    weights = folder / "model.safetensors"
    size = weights.stat().st_size
    # In its place, as `cp` does: what is mapped into memory would change with it.
    with weights.open("r+b") as file:
        file.write(b"\0" * size)
    (folder / "tokenizer.json").unlink()
    assert checkpoint.fingerprint() == before
    assert checkpoint.load().model.state_dict()["vision.norm.weight"].eq(1.0).all()


def test_a_tokenizer_with_ids_that_the_model_lacks_is_refused(folder: Path) -> None:
    words = folder / "tokenizer.json"
    tokens = json.loads(words.read_text())
    tokens["model"]["vocab"]["red"] = 90
    words.write_text(json.dumps(tokens))
    with pytest.raises(
        BlipError, match=r"tokens with ids up to 90, the model \d+; give the"
    ) as caught:
        open_checkpoint(folder)
    assert "\n" not in str(caught.value)
