"""Names of annotation files find the file that is meant, and no other."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from blip.data.annotations.named_files import NamedFiles
from blip.data.annotations.pictures import FolderPictures, TablePictures
from blip.data.annotations.videos import list_videos
from tests.support.pictures import photo

FILES = (
    "a/1.mp4",
    "b/1.mp4",
    "a/2.mp4",
    "a/3.webm",
    "a/3.mp4",
    "a/4.webm",
    "vid.mp4",
    "5.mp4",
    "b/5.mp4",
)


def folder_of(tmp_path: Path, names: tuple[str, ...] = FILES, content: bytes = b"") -> Path:
    for name in names:
        path = tmp_path / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "train"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a/1.mp4", "a/1.mp4"),
        ("b/1", "b/1.mp4"),
        ("train/b/1.mp4", "b/1.mp4"),
        ("2.mp4", "a/2.mp4"),
        ("2", "a/2.mp4"),
        ("4.mp4", "a/4.webm"),
        ("3.webm", "a/3.webm"),
        ("5", "5.mp4"),
        ("c/1.mp4", None),
        ("test/a/1.mp4", None),
        ("1.mp4", None),
        ("3", None),
        ("vid.1", None),
        ("", None),
    ],
)
def test_a_name_is_the_end_of_one_path(name: str, found: str | None, tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    named = NamedFiles(folder, sorted(folder.rglob("*.*")))
    assert named.find(name) == (None if found is None else folder / found)


def test_a_missing_video_is_not_that_of_another_folder(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    entries = [{"video": f"{place}/1.mp4", "caption": place} for place in "abc"]
    (folder / "test.json").write_text(json.dumps(entries), encoding="utf-8")
    sources = {video.key: video.source for video in list_videos(folder / "test.json")}
    assert sources == {"a/1": folder / "a/1.mp4", "b/1": folder / "b/1.mp4", "c/1": None}


def test_a_missing_picture_is_not_that_of_another_folder(tmp_path: Path) -> None:
    pictures = FolderPictures(folder_of(tmp_path, ("a/1.png", "b/2.png"), photo(1)))
    assert pictures.read("c/1.png")[0] is None
    assert pictures.read("1.1")[0] is None
    assert pictures.read("1.jpg") == (photo(1), "png")
    assert pictures.read(2) == (photo(1), "png")


def test_keys_of_tables_have_folders_or_have_none(tmp_path: Path) -> None:
    rows = {"image": [photo(1), photo(2)]}
    pq.write_table(pa.table({"key": ["a/1", "2"], **rows}), tmp_path / "mixed.parquet")
    pq.write_table(pa.table({"key": ["1", "2"], **rows}), tmp_path / "flat.parquet")
    mixed, flat = (TablePictures(tmp_path / f"{name}.parquet") for name in ("mixed", "flat"))
    assert mixed.read("a/1.png")[0] == flat.read("a/1.png")[0] == photo(1)
    assert mixed.read("b/2.png")[0] is None
    assert flat.read("2.png")[0] == flat.read(2)[0] == photo(2)
