"""`blip convert` and `blip.load` as a person uses them."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import blip
from blip import load
from blip.cli.main import main
from blip.data.tokenizer import Tokenizer
from blip.errors import BlipError, UsageError
from blip.inference.checkpoint import load_model, save_model
from blip.inference.convert import convert
from blip.model.blip import Blip
from blip.model.make import make_model
from blip.model.question import QuestionModel
from tests.support.small_disk import small_disk
from tests.support.tiny import TINY


@pytest.fixture
def tokenizer() -> Tokenizer:
    return Tokenizer.train(["a red circle", "two blue stars on grey"], vocabulary_size=60)


@pytest.fixture
def folder(tokenizer: Tokenizer, tmp_path: Path) -> Path:
    """A checkpoint of a whole MED."""
    text = replace(TINY.text, vocabulary_size=tokenizer.vocabulary_size)
    torch.manual_seed(0)
    path = tmp_path / "med"
    path.mkdir()
    save_model(make_model(replace(TINY, text=text)), tokenizer, path)
    return path


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    Image.new("RGB", (40, 30), "red").save(path)
    return path


def run(*words: object) -> int:
    return main([str(word) for word in words])


def test_a_captioner_goes_round_and_still_says_the_same(
    folder: Path, picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = folder.parent
    assert run("convert", folder, place / "hf", "--to", "hf", "--task", "caption") == 0
    assert run("convert", place / "hf", place / "again.pth", "--to", "original") == 0
    beside = ("--tokenizer", place / "hf" / "tokenizer.json")
    assert run("convert", place / "again.pth", place / "ours", *beside) == 0
    capsys.readouterr()
    said = []
    for source in (folder, place / "hf", place / "ours"):
        assert run("caption", source, picture, "--min-length", 8) == 0
        said.append(capsys.readouterr().out)
    assert len(set(said)) == 1


def test_what_was_written_is_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("convert", folder, folder.parent / "b.pth", "--to", "original") == 0
    assert "b.pth: pretrain, 0.0 M parameters, 32 pixels" in capsys.readouterr().err


def test_options_may_stand_between_the_places(folder: Path) -> None:
    assert run("convert", folder, "--to", "original", folder.parent / "b.pth") == 0
    assert (folder.parent / "b.pth").is_file()


def test_positions_are_resized_on_the_way(folder: Path, tmp_path: Path) -> None:
    assert run("convert", folder, tmp_path / "large", "--image-size", 64) == 0
    assert load(tmp_path / "large").config.vision.image_size == 64
    assert load(folder, image_size=48).model.encode_image(torch.zeros(1, 3, 48, 48)).shape[1] == 10


@pytest.mark.parametrize(
    ("change", "kind"), [({"sharing": "nothing"}, "med"), ({"architecture": "visdial"}, "visdial")]
)
def test_a_model_without_a_published_layout_keeps_ours(
    change: dict[str, Any],
    kind: str,
    tokenizer: Tokenizer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = replace(TINY.text, vocabulary_size=tokenizer.vocabulary_size)
    (tmp_path / "own").mkdir()
    save_model(make_model(replace(TINY, text=text, **change)), tokenizer, tmp_path / "own")
    words = ("convert", tmp_path / "own", tmp_path / "large", "--image-size", 64, "--json")
    assert run(*words) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == kind
    if kind == "visdial":
        assert run("convert", tmp_path / "own", tmp_path / "half", "--task", "caption") == 2
        assert "holds a model for visdial, not one for caption" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["med", "x", "--to", "hf"], 2, "no class for pretrain, only for caption, itm, vqa"),
        (["med", "x.pth"], 2, "blip is a folder, got x.pth"),
        (["med", "x.pth", "--to", "original", "--tokenizer", "vocab.txt"], 2, "holds no tokenizer"),
        (["med", "x", "--heads", "8", "8"], 2, "are 3 and 2, got 8 and 8"),
        (["med", "x.bin", "--to", "original"], 2, "is a file NAME.pth, got"),
        (["med", "med"], 2, "the output med would replace the input med"),
        (["missing", "x"], 2, "no checkpoint at"),
        (["med", "x", "--to", "tflite"], 2, "--to is 'tflite'; allowed: blip, hf, original, onnx"),
        (
            ["med", "x", "--image-size", "50"],
            2,
            "`image_size` is 50; allowed: a multiple of patch_size 16",
        ),
        (["med"], 2, "the following arguments are required: DST; see `blip convert --help`"),
        (["bare.pth", "x"], 2, "neither tokenizer.json nor vocab.txt beside"),
        (["torn.pth", "x"], 1, "torn.pth cannot be read as weights"),
    ],
)
def test_what_cannot_be_converted_is_one_line(
    words: list[str],
    status: int,
    message: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder.parent)
    (folder.parent / "bare").mkdir()
    convert(folder, Path("bare/bare.pth"), "original")
    Path("torn.pth").write_bytes(Path("bare/bare.pth").read_bytes()[:1000])
    words = ["bare/bare.pth" if word == "bare.pth" else word for word in words]
    before = sorted(folder.parent.iterdir())
    assert run("convert", *words) == status
    assert message in capsys.readouterr().err
    assert sorted(folder.parent.iterdir()) == before


def test_a_tokenizer_of_another_size_is_refused(folder: Path, tmp_path: Path) -> None:
    other = Tokenizer.train(["nothing alike"], vocabulary_size=30)
    other.save(tmp_path)
    with pytest.raises(BlipError, match=r"the tokenizer has \d+ tokens, the model"):
        load(folder, tokenizer=tmp_path / "tokenizer.json")


def test_the_kind_that_is_needed_is_asked_for(folder: Path, tokenizer: Tokenizer) -> None:
    assert isinstance(load_model(folder).model, Blip)
    with pytest.raises(UsageError, match=r"holds a MED .*; this needs a model for questions"):
        load_model(folder, of=QuestionModel)
    text = replace(TINY.text, vocabulary_size=tokenizer.vocabulary_size)
    questions = folder.parent / "vqa"
    questions.mkdir()
    save_model(make_model(replace(TINY, text=text, architecture="vqa")), tokenizer, questions)
    assert isinstance(blip.load(questions).model, QuestionModel)
    with pytest.raises(UsageError, match="holds a model for questions"):
        blip.Captioner.load(questions)


def test_released_names_are_listed_without_torch() -> None:
    code = (
        "import sys; from blip.cli.main import main; status = main(['convert', '--list']);"
        "sys.exit(status or 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "original:model_large" in done.stdout
    assert "hf:Salesforce/blip-vqa-base" in done.stdout


def test_offline_ends_in_one_line(picture: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "blip", "caption", "original:model_base", str(picture)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PATH": "", "HOME": str(tmp_path)},
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "HF_HUB_OFFLINE" in done.stderr


def test_a_converted_folder_says_what_transformers_needs(folder: Path, tmp_path: Path) -> None:
    convert(folder, tmp_path / "hf", "hf", task="itm")
    names = {path.name for path in (tmp_path / "hf").iterdir()}
    assert names == {
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    sizes = json.loads((tmp_path / "hf" / "preprocessor_config.json").read_text())["size"]
    assert sizes == {"height": 32, "width": 32}


@pytest.mark.parametrize("to", ["blip", "original"])
def test_a_full_disk_is_one_line(
    to: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Libraries tell of it in words of their own, or by a position in a file."""
    with small_disk(tmp_path / "disk", "64k") as disk:
        place = disk / ("model.pth" if to == "original" else "model")
        assert main(["convert", str(folder), str(place), "--to", to]) == 1
        assert list(disk.rglob("*.pth")) + list(disk.glob("model*")) == []
    (line,) = capsys.readouterr().err.splitlines()
    assert "No space left on device" in line


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
@pytest.mark.parametrize("to", ["blip", "hf", "original"])
def test_files_are_as_readable_as_the_umask_says(
    to: str, umask: int, folder: Path, tmp_path: Path
) -> None:
    place = tmp_path / ("new.pth" if to == "original" else "new")
    before = os.umask(umask)
    try:
        assert run("convert", folder, place, "--to", to, "--task", "caption") == 0
    finally:
        os.umask(before)
    files = [place] if place.is_file() else list(place.iterdir())
    assert {path.stat().st_mode & 0o777 for path in files} == {0o666 & ~umask}
