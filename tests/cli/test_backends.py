"""`blip convert --to onnx`, and `blip caption` and `blip match` on what it writes."""

import json
from pathlib import Path

import pytest

from blip.cli.main import main
from tests.support.exported_models import Exported, export_tiny


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_tiny(tmp_path_factory.mktemp("exported"))


def lines(capsys: pytest.CaptureFixture[str], *words: str | Path) -> list[str]:
    assert main([str(word) for word in words]) == 0
    return capsys.readouterr().out.splitlines()


def test_captions_and_matches_are_those_of_the_checkpoint(
    exported: Exported, capsys: pytest.CaptureFixture[str]
) -> None:
    for verb, more in (("caption", ["--max-length", "12"]), ("match", ["--texts", "a red circle"])):
        asked = [*exported.pictures, *more]
        expected = lines(capsys, verb, exported.checkpoint, *asked, "--device", "cpu")
        assert lines(capsys, verb, exported.folder, *asked) == expected
        assert lines(capsys, verb, exported.folder, *asked, "--backend", "onnx") == expected


def test_convert(exported: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calibration = ["--calibration", exported.pictures[0].parent]
    words = ["convert", exported.checkpoint, tmp_path / "out", "--to", "onnx", "--int8", "static"]
    (row,) = lines(capsys, *words, *calibration, "--task", "caption", "--json")
    assert json.loads(row) == {
        "out": str(tmp_path / "out"),
        "graphs": ["image_encoder", "image_kv", "decoder"],
        "precision": "int8-static",
        "image_size": 32,
    }
    assert len(lines(capsys, "caption", tmp_path / "out", exported.pictures[0])) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("caption FOLDER PICTURE --compile on", "--compile would not be used with onnxruntime"),
        ("match FOLDER PICTURE a --device cuda", "--device would not be used with onnxruntime"),
        ("caption CKPT PICTURE --backend onnx", "is not an exported folder"),
        ("caption FOLDER PICTURE --backend torch", "holds exported graphs"),
        ("convert CKPT OUT --int8 dynamic", "--int8 would not be used without --to onnx"),
        ("convert CKPT OUT --to onnx --int8 static", "--int8 static needs --calibration"),
        ("convert CKPT OUT --to onnx --calibration PICTURE", "without --int8 static"),
    ],
)
def test_refusals(
    words: str,
    message: str,
    exported: Exported,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {"FOLDER": exported.folder, "CKPT": exported.checkpoint, "OUT": tmp_path / "out"}
    places["PICTURE"] = exported.pictures[0]
    assert main([str(places.get(word, word)) for word in words.split()]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "out").exists()
