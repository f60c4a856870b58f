"""A picture that Python code opens gives the pixels that the command sees."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from blip.data.images import decode_image
from blip.data.transforms import eval_transform
from blip.inference.pixels import to_pixels
from tests.support.generators import run_generator

NAME = "14-api-and-command-differ"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_generator(NAME, tmp_path_factory.mktemp("case"))


@pytest.mark.parametrize("name", ["clear.png", "deep.png", "turned.jpg"])
def test_both_see_the_same(folder: Path, name: str) -> None:
    path = folder / name
    expected = eval_transform(decode_image(path.read_bytes()), 48)
    for form in (Image.open(path), path, str(path), path.read_bytes()):
        assert torch.equal(to_pixels([form], 48, torch.device("cpu"))[0], expected)
