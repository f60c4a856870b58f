"""Weights that are NaN, or that overflow, end every verb in one line, and nothing is printed."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from blip.cli.main import main
from blip.data.sample import Sample
from blip.data.writers.shards import write_shards
from blip.inference.checkpoint import fingerprint
from tests.support.saved_models import save_picture, save_tiny

WEIGHTS = "model.safetensors"


def fill(folder: Path, name: str, value: float) -> Path:
    """Give all values of a tensor one value."""
    tensors = load_file(folder / WEIGHTS)
    tensors[name] = torch.full_like(tensors[name], value)
    save_file(tensors, folder / WEIGHTS)
    return folder


@pytest.fixture
def verbs(tmp_path: Path) -> dict[str, list[str]]:
    """Commands that use a model, each with a checkpoint of its own."""
    picture = str(save_picture(tmp_path / "a.png"))
    content = (tmp_path / "a.png").read_bytes()
    write_shards([Sample("a", content, ("a red circle",), extension="png")], tmp_path / "shards")
    med, questions = str(tmp_path / "med"), str(tmp_path / "vqa")
    save_tiny(tmp_path / "med")
    save_tiny(tmp_path / "vqa", "vqa")
    (tmp_path / "answers.txt").write_text("red\nblue\n")
    candidates = ["--answers", str(tmp_path / "answers.txt")]
    return {
        "caption": ["caption", med, picture],
        "match": ["match", med, picture, "a red circle", "two"],
        "ask": ["ask", questions, picture, "is it red?"],
        "rank": ["ask", questions, picture, "is it red?", *candidates],
        "evaluate": ["evaluate", med, "--data", str(tmp_path / "shards")],
        "convert": ["convert", med, str(tmp_path / "out.pth"), "--to", "original"],
    }


@pytest.mark.parametrize("verb", ["caption", "match", "ask", "rank", "evaluate", "convert"])
def test_weights_that_are_nan_are_named_by_every_verb(
    verb: str, verbs: dict[str, list[str]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    fill(Path(verbs[verb][1]), "vision.norm.bias", float("nan"))
    assert main(verbs[verb]) == 1
    out, err = capsys.readouterr()
    (line,) = (line for line in err.splitlines() if "error" in line)
    assert f"{WEIGHTS} has NaN or infinite weights in vision.norm.bias (24 of 24 values)" in line
    assert out == ""
    assert not (tmp_path / "out.pth").exists()


@pytest.mark.parametrize("verb", ["caption", "match", "ask", "rank", "evaluate"])
def test_weights_that_overflow_are_reported_by_every_verb(
    verb: str, verbs: dict[str, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    fill(Path(verbs[verb][1]), "vision.norm.weight", 3e38)
    assert main(verbs[verb]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = (line for line in err.splitlines() if "error" in line)
    assert "weights are broken" in line


def test_an_evaluation_names_the_model_that_it_is_of(
    verbs: dict[str, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(verbs["evaluate"][1])
    found = []
    for _ in range(2):
        assert main([*verbs["evaluate"], "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out)["model"])
        assert found[-1] == fingerprint(folder)
        fill(folder, "vision.norm.bias", 0.5)
    assert len(set(found)) == 2
