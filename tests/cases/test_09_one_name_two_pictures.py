"""Two pictures of one stem: no caption is lost, and none is replaced."""

from pathlib import Path

import pytest

from blip.cli.main import main
from tests.support.generators import run_generator
from tests.support.saved_models import tiny_checkpoint


def test_neither_caption_is_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = run_generator("09-one-name-two-pictures", tmp_path / "photos")
    model = str(tiny_checkpoint(tmp_path / "model", ["a red square", "a blue square"]))
    command = ["caption", model, str(photos), "--write", "txt", "--device", "cpu"]
    assert main(command) == 2
    err = capsys.readouterr().err
    assert "a.jpg" in err
    assert "a.png" in err
    assert not list(photos.glob("*.txt"))
    assert main([*command, "--write-name", "full"]) == 0
    captions = dict(line.split("\t") for line in capsys.readouterr().out.splitlines())
    for name in ("a.jpg", "a.png"):
        text = (photos / f"{name}.txt").read_text(encoding="utf-8")
        assert text == captions[str(photos / name)] + "\n"
