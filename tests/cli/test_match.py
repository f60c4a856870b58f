"""`blip match`: one picture as ever, many pictures and folders in rows that name them."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from blip.cli.main import main
from blip.inference.checkpoint import load_model, save_model
from tests.support.saved_models import save_picture, save_tiny

TEXTS = ["a red circle", "blue square near one star"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_tiny(tmp_path_factory.mktemp("match"))
    for number, name in enumerate(("a.png", "b.jpg", "sub/c.png")):
        save_picture(folder / "photos" / name, number)
    return folder


def match(folder: Path, *more: str | Path) -> int:
    return main(["match", str(folder), *map(str, more), "--device", "cpu"])


def test_one_picture(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = folder / "photos/a.png"
    assert match(folder, picture, *TEXTS) == 0
    lines = capsys.readouterr().out.splitlines()
    assert match(folder, picture, *TEXTS, "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["text"] for row in rows] == TEXTS
    for row, line in zip(rows, lines, strict=True):
        assert line == f"match {row['probability']:.3f}  cosine {row['cosine']:+.3f}  {row['text']}"


def test_many_pictures(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = folder / "photos"
    assert match(folder, photos, *TEXTS, "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    paths = [str(photos / name) for name in ("a.png", "b.jpg", "sub/c.png")]
    assert [(row["path"], row["text"]) for row in rows] == [
        (path, text) for path in paths for text in TEXTS
    ]
    assert match(folder, *paths, "--texts", *TEXTS, "--batch-size", "2") == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        [row["path"], f"{row['probability']:.3f}", f"{row['cosine']:+.3f}", row["text"]]
        for row in rows
    ]
    assert match(folder, photos, "--texts", TEXTS[0], "--texts", TEXTS[1], "--csv") == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [{**row, **given} for row, given in zip(rows, table, strict=True)] == table
    # In any company the scores are those of the picture alone.
    assert match(folder, paths[2], *TEXTS, "--json") == 0
    alone = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for row, one in zip(rows[4:], alone, strict=True):
        assert row["probability"] == pytest.approx(one["probability"], abs=1e-5)


def test_compile_on_reads_passes_of_fixed_shapes(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[str] = []

    def compile(work: Callable[..., Any], **_: object) -> Callable[..., Any]:
        compiled.append(work.__name__)
        return work

    monkeypatch.setattr(torch, "compile", compile)
    photos = folder / "photos"
    found: list[list[dict[str, Any]]] = []
    for choice in ("auto", "off", "on"):
        assert match(folder, photos, *TEXTS, "--json", "--compile", choice) == 0
        found.append([json.loads(line) for line in capsys.readouterr().out.splitlines()])
        assert bool(compiled) == (choice == "on")
    plain, _, fixed = found
    for one, other in zip(plain, fixed, strict=True):
        for name in ("probability", "cosine"):
            assert one.pop(name) == pytest.approx(other.pop(name), abs=1e-5)
    assert plain == fixed
    assert len(compiled) == 5


def test_broken_pictures_are_counted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = folder / "broken.png"
    broken.write_bytes(b"\x89PNG")
    assert match(folder, broken, *TEXTS) == 1
    assert "broken.png: not an image" in capsys.readouterr().err
    assert match(folder, broken, folder / "photos/a.png", "--texts", *TEXTS) == 1
    out, err = capsys.readouterr()
    assert out.count("\n") == 2
    assert "1 of 2 pictures could not be read" in err


def test_a_picture_that_is_taken_for_a_text_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = folder / "photos/a.png", folder / "photos/b.jpg"
    assert match(folder, first, second, "a text") == 0
    out, err = capsys.readouterr()
    assert out.count("\n") == 2
    assert "b.jpg is scored as a text; with --texts, all other names are files" in err


def test_a_video_that_is_taken_for_a_text_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = folder / "b.mp4"
    video.write_bytes(b"")
    assert match(folder, folder / "photos/a.png", video) == 0
    assert "b.mp4 is scored as a text" in capsys.readouterr().err


def test_what_cannot_be_asked_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert match(folder, folder / "photos") == 2
    assert "are required: TEXT; see" in capsys.readouterr().err
    assert match(folder, folder / "photos", "\udce9") == 2
    assert "allowed: text in UTF-8" in capsys.readouterr().err
    assert match(folder, folder / "photos", "a red circle", "...") == 2
    assert "'...'; allowed: a text with words" in capsys.readouterr().err
    assert match(folder, folder / "none.jpg", "text") == 2
    assert "no such file or folder" in capsys.readouterr().err
    assert match(folder, folder / "photos", "text", "--batch-size", "0") == 2


def test_a_broken_model_ends_in_a_line_that_names_the_picture(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = load_model(folder)
    # Finite, but too large to be multiplied.
    torch.nn.init.constant_(loaded.model.vision.norm.weight, 3e38)
    save_model(loaded.model, loaded.tokenizer, tmp_path)
    picture = folder / "photos/a.png"
    assert match(tmp_path, picture, *TEXTS) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        f"blip: error: {picture}: the model's scores are NaN or infinite: its weights are broken, "
        "or its values overflow (try precision float32)\n"
    )
