"""What a pattern names, and what of it is not read as a shard."""

import json
import os
from pathlib import Path

import pytest

from blip.data.readers.counts import locate
from blip.data.readers.patterns import PACKED, expand, match_paths, named_in
from blip.data.readers.sources import resolve_source
from blip.errors import UsageError
from blip.outputs import JOB, RECUT, Kind, claim


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("00.tar", "01.tar", "odd{.tar", "[0].tar", "._00.tar", "00.parquet"):
        (tmp_path / name).write_bytes(b"")
    for name in ("00_stats.json", "sizes.json"):
        (tmp_path / name).write_text("{}")
    return tmp_path


def test_an_existing_name_is_never_read_as_a_pattern(folder: Path) -> None:
    assert expand([str(folder / "odd{.tar")]) == [folder / "odd{.tar"]
    assert expand([str(folder / "[0].tar")]) == [folder / "[0].tar"]
    assert locate([str(folder / "odd{.tar")]) == [str(folder / "odd{.tar")]


def test_files_beside_tars_are_ignored(folder: Path) -> None:
    tars = [folder / name for name in ("00.tar", "01.tar", "[0].tar", "odd{.tar")]
    assert expand([str(folder)]) == tars
    assert expand([f"{folder}/*"]) == tars
    assert expand([f"{folder}/0*"]) == tars[:2]


def test_suffixes_in_upper_case_count(tmp_path: Path) -> None:
    for name in ("0.tar", "1.TAR", "._1.TAR", "00_STATS.JSON", "SIZES.json"):
        (tmp_path / name).write_bytes(b"")
    tars = [tmp_path / "0.tar", tmp_path / "1.TAR"]
    assert expand([str(tmp_path)]) == expand([f"{tmp_path}/*"]) == tars
    assert resolve_source(str(tmp_path)) == resolve_source(f"{tmp_path}/*") == tars


def test_what_is_not_read_as_a_shard_is_reported(folder: Path) -> None:
    os.mkfifo(folder / "pipe.tar")
    (folder / "circle.tar").symlink_to(folder / "circle.tar")
    (folder / "t.tar.gz").write_bytes(b"")
    for name, message in {
        "pipe.tar": "neither a file nor a folder",
        "circle.tar": "a broken link",
        "t.tar.gz": "is compressed",
        "00.parquet": "is a table",
    }.items():
        with pytest.raises(UsageError, match=message):
            expand([str(folder / name)])
    assert [path.name for path in match_paths(f"{folder}/[pc]*")] == []
    (folder / "zipped").mkdir()
    (folder / "zipped/t.tgz").write_bytes(b"")
    with pytest.raises(UsageError, match=r"t\.tgz is compressed"):
        expand([str(folder / "zipped")])


def test_what_is_called_a_tar_and_is_not_one_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(folder / "pipe.tar")
    (folder / "away.tar").symlink_to(folder / "nowhere.tar")
    (folder / "inner.tar").mkdir()
    for find in (lambda: expand([str(folder)]), lambda: resolve_source(str(folder))):
        assert {path.suffix for path in find()} == {".tar"}
    assert capsys.readouterr().err.splitlines() == [
        f"skipped {folder}/away.tar: it is a broken link",
        f"skipped {folder}/inner.tar: it is a folder",
        f"skipped {folder}/pipe.tar: it is neither a file nor a folder",
    ]
    (folder / "gone.tar").symlink_to(folder / "nowhere.tar")
    assert folder / "gone.tar" not in expand([f"{folder}/*.tar"])
    assert f"skipped {folder}/gone.tar" in capsys.readouterr().err


def test_half_of_what_was_to_be_packed_is_not_read(folder: Path) -> None:
    marker = folder / PACKED
    marker.write_text(json.dumps({"state": "begun", "source": "photos"}))
    for pattern in (str(folder), str(folder / "00.tar"), f"{folder}/*"):
        with pytest.raises(UsageError, match=r"is not finished: `blip data pack photos"):
            expand([pattern])
        with pytest.raises(UsageError, match="is not finished"):
            locate([pattern])
    marker.write_text(json.dumps({"state": "finished"}))
    assert expand([str(folder / "00.tar")]) == [folder / "00.tar"]


@pytest.mark.parametrize("kind", [JOB, RECUT])
def test_half_of_what_capfilt_was_to_write_is_not_read(tmp_path: Path, kind: Kind) -> None:
    claim(tmp_path / "out", kind)
    shards = tmp_path / "out/shards"
    shards.mkdir()
    (shards / "00000.tar").write_bytes(b"")
    for pattern in (str(shards), str(shards / "00000.tar")):
        for find in (
            lambda pattern=pattern: expand([pattern]),
            lambda p=pattern: resolve_source(p),
        ):
            with pytest.raises(UsageError, match=f"is not finished: `{kind.command} --out"):
                find()
    (tmp_path / "out/summary.json").write_text("{}")
    assert expand([str(shards)]) == [shards / "00000.tar"]


def test_what_is_missing_of_a_range_is_said(folder: Path, capsys: pytest.CaptureFixture) -> None:
    pattern = f"{folder}/{{00..03}}.tar"
    assert expand([pattern]) == [folder / "00.tar", folder / "01.tar"]
    assert capsys.readouterr().err == (
        f"{pattern} names 2 missing files, the first {folder}/02.tar\n"
    )


def test_what_is_named_with_a_suffix(tmp_path: Path) -> None:
    for name in ("b.tar", "a.TAR", ".c.tar", "tar", "d.tar.txt"):
        (tmp_path / name).touch()
    assert named_in(tmp_path, ".tar") == [tmp_path / "a.TAR", tmp_path / "b.tar"]
    assert named_in(tmp_path / "b.tar", ".tar") == named_in(tmp_path / "none", ".tar") == []
