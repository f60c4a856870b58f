"""`blip compare`: a judgement of each statement on stdout; what cannot be judged ends in a line."""

import json
from pathlib import Path

import pytest

from blip.cli.main import main
from tests.support.saved_models import save_picture, save_tiny

STATEMENTS = ["A red star!", "one big green circle"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint and two pictures."""
    folder = tmp_path_factory.mktemp("compare")
    save_tiny(folder / "model", "nlvr")
    save_tiny(folder / "med")
    for seed, name in enumerate(("left", "right")):
        save_picture(folder / f"{name}.png", seed)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder


def compare(folder: Path, *more: str, pictures: tuple[str, str] = ("left.png", "right.png")) -> int:
    paths = [str(folder / name) for name in pictures]
    return main(["compare", str(folder / "model"), *paths, *STATEMENTS, "--device", "cpu", *more])


def test_each_statement_with_its_probability(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(folder, "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["statement"] for row in rows] == STATEMENTS
    assert all(row["is_true"] == (row["probability"] > 0.5) for row in rows)
    assert compare(folder) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"{row['statement']}\t{row['probability']:.3f}\t{str(row['is_true']).lower()}"
        for row in rows
    ]
    assert compare(folder, "--json", pictures=("right.png", "left.png")) == 0
    turned = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["probability"] for row in turned] != [row["probability"] for row in rows]


def test_what_cannot_be_judged_ends_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(folder, pictures=("left.png", "broken.png")) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "broken.png" in error
    assert compare(folder, pictures=("left.png", "none.png")) == 2
    assert "no picture at" in capsys.readouterr().err
    assert compare(folder, pictures=(".", "left.png")) == 2
    assert "is a folder; `blip compare` takes two pictures" in capsys.readouterr().err
    assert compare(folder, pictures=("left.png", "clip.mp4")) == 2
    assert "clip.mp4 is a video; `blip compare` takes pictures alone" in capsys.readouterr().err
    pictures = [str(folder / name) for name in ("left.png", "right.png")]
    assert main(["compare", str(folder / "model"), *pictures, "a star", " ."]) == 2
    assert "statement 2 is ' .'; it has no words" in capsys.readouterr().err
    assert main(["compare", str(folder / "med"), *pictures, "a star", "--device", "cpu"]) == 2
    assert "this needs a model for pairs of images (NLVR2)" in capsys.readouterr().err
    assert main(["compare", str(folder / "model"), *pictures]) == 2
    assert "arguments are required" in capsys.readouterr().err
