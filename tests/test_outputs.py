"""What a run writes: never over an input, never over what it did not make."""

import os
from pathlib import Path

import pytest

from blip.errors import UsageError
from blip.outputs import (
    JOB,
    MARKER,
    check_unchanged,
    claim,
    refuse_inputs_as_output,
    remove_known,
)
from blip.tasks.config import PretrainConfig


@pytest.fixture
def shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`d/shards/0.tar`, and the folder to stand in is the one that holds `d`."""
    (tmp_path / "d/shards").mkdir(parents=True)
    (tmp_path / "d/shards/0.tar").write_bytes(b"precious")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "d/shards"


@pytest.mark.parametrize(
    ("given", "out"),
    [
        ("d/shards", "d"),
        ("d/shards/0.tar", "d"),
        ("d/./x/../shards/0.tar", "d/."),
        ("file://{tmp}/d/shards/0.tar", "d"),
        ("linked-file.tar", "d"),
        ("linked-folder", "d"),
        ("d/shards", "linked-out"),
        ("hard.tar", "d"),
        ("d/shards/points-away.tar", "d"),
        ("d/shards/0.tar", "d/shards/0.tar"),
        ("d/shards", "d/shards"),
    ],
)
def test_an_output_may_not_replace_an_input(
    shards: Path, tmp_path: Path, given: str, out: str
) -> None:
    (tmp_path / "d/x").mkdir()
    (tmp_path / "linked-file.tar").symlink_to("d/shards/0.tar")
    (tmp_path / "linked-folder").symlink_to("d/shards")
    (tmp_path / "linked-out").symlink_to("d")
    os.link(shards / "0.tar", tmp_path / "hard.tar")
    (tmp_path / "away.tar").touch()
    (shards / "points-away.tar").symlink_to(tmp_path / "away.tar")
    given = given.format(tmp=tmp_path)
    with pytest.raises(UsageError, match="would replace the input") as raised:
        refuse_inputs_as_output([given], Path(out), JOB)
    assert given.removeprefix("file://") in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("given", "out"),
    [
        ("d/shards", "clean"),
        ("d/shards", "d/shards/clean"),
        ("d/other.csv", "d"),
        ("s3://d/shards", "d"),
        ("pipe:cat d/shards/0.tar", "d"),
        ("hf:some/model", "d"),
        ("d/none.tar", "d"),
    ],
)
def test_an_input_that_no_output_replaces_is_accepted(shards: Path, given: str, out: str) -> None:
    (shards.parent / "other.csv").touch()
    before = sorted(shards.parents[1].rglob("*"))
    refuse_inputs_as_output([given], Path(out), JOB)
    assert sorted(shards.parents[1].rglob("*")) == before, "a check writes nothing"


def test_a_folder_is_claimed_and_claimed_again(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    (tmp_path / "checkpoints").mkdir()
    claim(tmp_path, PretrainConfig.kind)
    (tmp_path / "checkpoints/step-00000001").mkdir()
    claim(tmp_path, PretrainConfig.kind)
    with pytest.raises(UsageError, match="made by `blip pretrain`, not by `blip capfilt`"):
        claim(tmp_path, JOB)


def test_what_was_there_before_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/thesis.doc").touch()
    with pytest.raises(UsageError, match=r"holds checkpoints, which `blip pretrain` did not make"):
        claim(tmp_path, PretrainConfig.kind)
    assert not (tmp_path / MARKER).exists()
    claim(tmp_path, JOB)


def test_what_an_earlier_version_made_is_known(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").touch()
    claim(tmp_path, PretrainConfig.kind, is_ours=lambda: True)
    assert (tmp_path / MARKER).exists()


def test_only_known_files_are_removed(tmp_path: Path) -> None:
    run, away = tmp_path / "run", tmp_path / "away"
    for name in (
        *("metrics.jsonl", "notes.txt", "samples/step-00000002.png", "samples/mine.png"),
        *("checkpoints/step-00000001/training.pt", "checkpoints/step-00000002/thesis.doc"),
    ):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).touch()
    away.mkdir()
    (away / "model.safetensors").touch()
    (run / "checkpoint").symlink_to(away)
    (run / "config.json").symlink_to(away / "model.safetensors")
    remove_known(run, PretrainConfig.kind.files)
    left = sorted(p.relative_to(run).as_posix() for p in run.rglob("*") if not p.is_dir())
    assert left == ["checkpoints/step-00000002/thesis.doc", "notes.txt", "samples/mine.png"]
    assert (away / "model.safetensors").exists()


def test_a_finished_result_is_replaced_on_request_alone(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    check_unchanged(path, "new", overwrite=False)
    path.write_text("old")
    check_unchanged(path, "old", overwrite=False)
    check_unchanged(path, "new", overwrite=True)
    with pytest.raises(UsageError, match=r"result\.json already exists .* another --out keeps"):
        check_unchanged(path, "new", overwrite=False)
    with pytest.raises(UsageError, match=r"--overwrite replaces it, another --html keeps both"):
        check_unchanged(path, "new", overwrite=False, option="--html")
    for overwrite in (False, True):
        with pytest.raises(
            UsageError, match=r"is a folder, where a file is to be written; .* --out"
        ):
            check_unchanged(tmp_path, "new", overwrite=overwrite)
