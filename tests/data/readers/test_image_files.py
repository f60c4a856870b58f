"""Which pictures a folder holds, in what order; what it skips is counted, and nothing hangs."""

import os
import sys
from pathlib import Path

import pytest

from blip.data.readers.image_files import (
    find_images,
    is_image_name,
    list_images,
    read_image_file,
    refuse_none,
)
from blip.errors import UsageError
from blip.files import read_regular


def make(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in find_images(folder).paths]


def test_pictures_of_every_extension_are_found_in_order(tmp_path: Path) -> None:
    made = ["a/1.jpg", "a/2.JPEG", "b.png", "c.jfif", "d.avif", "e.HEIC", "f.tiff", "g.jpe"]
    make(tmp_path, *made, "b/0.webp")
    assert names(tmp_path) == sorted([*made, "b/0.webp"], key=lambda name: Path(name).parts)
    assert is_image_name("x.JFIF")
    assert not is_image_name("jpg")


def test_what_is_skipped_is_counted(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "a.txt", "a.caption", "b.txt", "film.mp4", "c.MP4", "README")
    make(tmp_path, "._a.jpg", ".thumbs/a.jpg")
    found = find_images(tmp_path)
    assert [path.name for path in found.paths] == ["a.jpg"]
    assert found.skipped == {".txt": 1, ".mp4": 2, "": 1}
    assert found.describe_skipped() == (
        "4 files that are not pictures (.mp4 2, no extension 1, .txt 1), 2 hidden"
    )
    make(tmp_path / "none", "b.psd")
    with pytest.raises(UsageError, match=r"none holds no pictures .*; skipped: 1 file .*psd 1"):
        list_images(tmp_path / "none")
    make(tmp_path / "clips", "a.mp4")
    with pytest.raises(UsageError, match=r"clips holds no pictures .*; this takes no videos"):
        list_images(tmp_path / "clips")


def test_a_caller_that_takes_videos_says_that_pyav_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    make(tmp_path / "clips", "a.mp4")
    with pytest.raises(UsageError, match=r"PyAV is not installed .*'blip-capfilt\[video\]'"):
        refuse_none(find_images(tmp_path / "clips"), tmp_path / "clips")
    make(tmp_path / "none", "b.psd")
    with pytest.raises(UsageError, match="none holds no pictures"):
        refuse_none(find_images(tmp_path / "none"), tmp_path / "none")


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    make(tmp_path / "elsewhere", "x.jpg", "deep/y.jpg")
    make(tmp_path / "photos", "z/a.jpg")
    (tmp_path / "photos" / "album").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos" / "again").symlink_to(tmp_path / "photos" / "z")
    (tmp_path / "photos" / "z" / "loop").symlink_to(tmp_path / "photos")
    (tmp_path / "elsewhere" / "deep" / "up").symlink_to("..")
    assert names(tmp_path / "photos") == ["album/deep/y.jpg", "album/x.jpg", "z/a.jpg"]


def test_a_link_to_nowhere_and_a_circle_are_listed_for_whoever_opens_them(tmp_path: Path) -> None:
    (tmp_path / "gone.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "circle.jpg").symlink_to("circle.jpg")
    assert names(tmp_path) == ["circle.jpg", "gone.jpg"]


def test_a_folder_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "a.jpg", "closed/b.jpg")
    real = os.scandir

    def scandir(folder: str) -> object:
        if folder.endswith("closed"):
            raise PermissionError(13, "Permission denied", folder)
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    found = find_images(tmp_path)
    assert [path.name for path in found.paths] == ["a.jpg"]
    assert "closed: Permission denied" in found.describe_skipped()


def test_pipes_and_devices_are_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "null.jpg").symlink_to("/dev/null")
    for name in ("pipe.jpg", "null.jpg"):
        with pytest.raises(OSError, match="not a regular file"):
            read_image_file(tmp_path / name)
    with pytest.raises(OSError, match="not a regular file"):
        read_image_file(tmp_path)


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg")
    assert read_regular(tmp_path / "a.jpg", 1) == b"x"
    with pytest.raises(OSError, match="larger than 0 bytes"):
        read_regular(tmp_path / "a.jpg", 0)


def test_names_that_are_not_utf_8_are_found(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9.jpg"
    Path(os.fsdecode(name)).write_bytes(b"x")
    (path,) = find_images(tmp_path).paths
    assert os.fsencode(path) == name
    assert read_image_file(path) == b"x"
