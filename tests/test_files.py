"""Files are whole or not there; fingerprints follow the content."""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from blip.errors import UsageError
from blip.files import (
    atomic_folder,
    fingerprint_files,
    fingerprint_json,
    hidden_beside,
    json_text,
    write_atomically,
    write_json,
)


def test_a_failed_block_leaves_the_old_folder(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "a") as part:
        (part / "x").write_text("old")

    def fail() -> None:
        with atomic_folder(tmp_path / "a", replaces=("x",)) as part:
            (part / "x").write_text("new")
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        fail()
    assert (tmp_path / "a" / "x").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    for text in ("one", "two"):
        with atomic_folder(tmp_path / "a", replaces=("one", "two")) as part:
            assert not list(part.glob("[!.]*"))
            (part / text).write_text(text)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["two"]


def test_a_kill_between_the_renames_is_mended(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "a") as part:
        (part / "x").write_text("kept")
    (tmp_path / "a").rename(tmp_path / ".a.old")
    with pytest.raises(RuntimeError, match="again"), atomic_folder(tmp_path / "a", ["x"]):
        raise RuntimeError("again")
    assert (tmp_path / "a" / "x").read_text() == "kept"


def test_a_folder_with_unknown_files_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/known.tar").touch()
    (tmp_path / "a/thesis.doc").touch()
    with (
        pytest.raises(UsageError, match=r"a would be replaced, but holds thesis\.doc"),
        atomic_folder(tmp_path / "a", replaces=("*.tar",)),
    ):
        pass
    (tmp_path / "b").write_text("a file")
    with (
        pytest.raises(UsageError, match="b exists and is not a folder"),
        atomic_folder(tmp_path / "b"),
    ):
        pass
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        *("a", "b", "known.tar", "thesis.doc")
    ]


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".a.part").mkdir()
    (tmp_path / ".a.part/.unfinished").touch()
    (tmp_path / ".a.part/half").touch()
    with atomic_folder(tmp_path / "a") as part:
        (part / "x").touch()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "x"]


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_files_are_as_readable_as_the_umask_says(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "one/file", "text")
        with atomic_folder(tmp_path / "two") as part:
            handle, name = tempfile.mkstemp(dir=part)
            os.close(handle)
            assert Path(name).stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.is_file()}
    assert modes == {0o666 & ~umask}


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_files_that_are_links_keep_their_mode(
    tmp_path: Path, link: Callable[[Path, Path], None]
) -> None:
    original = tmp_path / "original"
    original.write_text("of somebody else")
    original.chmod(0o440)
    with atomic_folder(tmp_path / "a") as part:
        link(original, part / "x")
        (part / "y").touch(mode=0o600)
    assert original.stat().st_mode & 0o777 == 0o440
    assert (tmp_path / "a/x").read_text() == "of somebody else"
    assert (tmp_path / "a/y").stat().st_mode & 0o777 != 0o600


def test_json_holds_no_number_that_is_not_finite(tmp_path: Path) -> None:
    nan, infinity = float("nan"), float("inf")
    write_json(tmp_path / "a", {"x": [1.5, nan, (infinity, -infinity)], "y": {"z": nan}})
    found = json.loads((tmp_path / "a").read_text(), parse_constant=pytest.fail)
    assert found == {"x": [1.5, None, [None, None]], "y": {"z": None}}
    assert json_text({"b": nan, "a": "é"}) == '{"b": null, "a": "é"}'


def test_writing_leaves_no_parts_behind(tmp_path: Path) -> None:
    write_atomically(tmp_path / "f" / "text", "one")
    write_json(tmp_path / "f" / "text", {"b": 1, "a": "é"})
    assert (tmp_path / "f" / "text").read_text(encoding="utf-8") == '{\n  "a": "é",\n  "b": 1\n}\n'
    assert len(list((tmp_path / "f").iterdir())) == 1


def test_fingerprints_follow_content(tmp_path: Path) -> None:
    assert fingerprint_json({"a": 1, "b": 2}) == fingerprint_json({"b": 2, "a": 1})
    assert fingerprint_json({"a": 1}) != fingerprint_json({"a": 2})
    (tmp_path / "x").write_text("1")
    before = fingerprint_files([tmp_path / "x"])
    (tmp_path / "x").rename(tmp_path / "y")
    assert fingerprint_files([tmp_path / "y"]) != before


@pytest.mark.parametrize("name", ["n" * 251 + ".txt", "\u6f22" * 83 + "ab.txt"])
def test_a_name_may_be_as_long_as_the_file_system_takes(name: str, tmp_path: Path) -> None:
    assert len(os.fsencode(name)) == 255
    write_atomically(tmp_path / name, "text")
    assert (tmp_path / name).read_text() == "text"
    (tmp_path / name).unlink()
    with atomic_folder(tmp_path / name) as part:
        (part / "x").touch()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_long_names_that_begin_alike_do_not_share_temporary_files(tmp_path: Path) -> None:
    one, other = (tmp_path / ("x" * 240 + end) for end in "ab")
    assert hidden_beside(one, "old") != hidden_beside(other, "old")
    assert hidden_beside(tmp_path / "short", "old").name == ".short.old"
