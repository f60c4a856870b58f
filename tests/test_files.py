"""Files are whole or not there; fingerprints follow the content."""

from pathlib import Path

import pytest

from blip.files import (
    atomic_folder,
    fingerprint_folder,
    fingerprint_json,
    write_atomically,
    write_json,
)


def test_a_failed_block_leaves_the_old_folder(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "a") as part:
        (part / "x").write_text("old")

    def fail() -> None:
        with atomic_folder(tmp_path / "a") as part:
            (part / "x").write_text("new")
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        fail()
    assert (tmp_path / "a" / "x").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    for text in ("one", "two"):
        with atomic_folder(tmp_path / "a") as part:
            assert not list(part.iterdir())
            (part / text).write_text(text)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["two"]


def test_a_kill_between_the_renames_is_mended(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "a") as part:
        (part / "x").write_text("kept")
    (tmp_path / "a").rename(tmp_path / ".a.old")
    with pytest.raises(RuntimeError, match="again"), atomic_folder(tmp_path / "a"):
        raise RuntimeError("again")
    assert (tmp_path / "a" / "x").read_text() == "kept"


def test_writing_leaves_no_parts_behind(tmp_path: Path) -> None:
    write_atomically(tmp_path / "f" / "text", "one")
    write_json(tmp_path / "f" / "text", {"b": 1, "a": "é"})
    assert (tmp_path / "f" / "text").read_text(encoding="utf-8") == '{\n  "a": "é",\n  "b": 1\n}\n'
    assert len(list((tmp_path / "f").iterdir())) == 1


def test_fingerprints_follow_content(tmp_path: Path) -> None:
    assert fingerprint_json({"a": 1, "b": 2}) == fingerprint_json({"b": 2, "a": 1})
    assert fingerprint_json({"a": 1}) != fingerprint_json({"a": 2})
    (tmp_path / "x").write_text("1")
    before = fingerprint_folder(tmp_path)
    (tmp_path / "x").rename(tmp_path / "y")
    assert fingerprint_folder(tmp_path) != before
