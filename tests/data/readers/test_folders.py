"""A folder of pictures: which text belongs to which, and what is left out is said."""

from pathlib import Path

import pytest

from blip.cli.main import main
from blip.data.readers.folders import read_folder
from tests.support.pictures import photo


def test_every_name_of_a_text_file_is_read(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg", "c.png", "d.jpg"):
        (tmp_path / name).write_bytes(photo(kind="JPEG"))
    (tmp_path / "a.txt").write_text("of a\n")
    (tmp_path / "b.caption").write_text("of b\ntwo\n")
    # As `blip caption --write txt --write-name full` writes them.
    (tmp_path / "c.jpg.txt").write_text("of c.jpg\n")
    (tmp_path / "c.png.txt").write_text("of c.png\n")
    found = [(sample.texts, sample.error) for sample in read_folder(tmp_path)]
    assert found == [
        (("of a",), None),
        (("of b", "two"), None),
        (("of c.jpg",), None),
        (("of c.png",), None),
        ((), "missing_text"),
    ]


def test_texts_beside_in_upper_case_are_read(tmp_path: Path) -> None:
    for name in ("A.JPG", "b.jpg"):
        (tmp_path / name).write_bytes(photo(kind="JPEG"))
    (tmp_path / "A.TXT").write_text("of a\n")
    (tmp_path / "b.jpg.CAPTION").write_text("of b\n")
    found = [(sample.texts, sample.error) for sample in read_folder(tmp_path)]
    assert found == [(("of a",), None), (("of b",), None)]


def test_what_a_folder_holds_besides_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(photo(kind="JPEG"))
    (photos / "a.txt").write_text("a circle\n")
    (photos / "film.mp4").touch()
    (photos / "._a.jpg").touch()
    assert main(["data", "pack", str(photos), str(tmp_path / "shards")]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("1 samples in 1 shards")
    assert "photos: skipped 1 file that is not a picture (.mp4 1), 1 hidden" in err
