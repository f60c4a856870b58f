"""Stages are done once, done again when inputs change, and resumed where they were stopped."""

import json
from pathlib import Path

import pytest

from blip.errors import UsageError
from blip.outputs import Kind
from blip.stage import MARKER, Stage, exclusive_lock


class Work:
    """Appends a line to `folder/result` and may then fail."""

    def __init__(self, folder: Path, *, fails: bool = False) -> None:
        self.folder, self.fails = folder, fails

    def __call__(self) -> None:
        with (self.folder / "result").open("a") as file:
            file.write("done\n")
        if self.fails:
            raise RuntimeError("cut")


KIND = Kind("work", "blip work", ("result",))
TRAINING = Kind("training", "blip train", ("result",), can_change=True)


def stage(
    folder: Path, inputs: object = 1, *, fails: bool = False, kind: Kind = KIND, **more: bool
) -> Stage:
    work = Work(folder, fails=fails)
    return Stage("work", folder, inputs, work, kind, "[1/1] work: write a line", **more)


def lines(folder: Path) -> int:
    return len((folder / "result").read_text().splitlines())


def test_done_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "a"
    for _ in range(3):
        stage(folder).run()
    assert lines(folder) == 1
    assert stage(folder).is_done()
    assert capsys.readouterr().err.splitlines() == [
        "[1/1] work: write a line",
        "[1/1] work: write a line: done already",
        "[1/1] work: write a line: done already",
    ]


def test_a_result_of_other_inputs_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    stage(folder, 1).run()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for more in ({}, {"allow_change": True}):
        with pytest.raises(UsageError, match=r"a holds a result of other data.*--overwrite"):
            stage(folder, 2, kind=TRAINING, **more).run()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert stage(folder, 1).is_done()


def test_overwriting_replaces_it_and_leaves_what_is_not_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "a"
    stage(folder, 1).run()
    (folder / "notes.txt").touch()
    stage(folder, 2, overwrite=True).run()
    assert lines(folder) == 1
    assert (folder / "notes.txt").exists()
    assert "its inputs changed" in capsys.readouterr().err
    assert not stage(folder, 1).is_done()
    # What a person put there is no part of the result, whose loss would be noticed.
    (folder / "notes.txt").unlink()
    assert stage(folder, 2).is_done()


def test_what_no_stage_made_is_not_cleared(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "result").write_text("mine")
    with pytest.raises(UsageError, match="a holds result, which `blip work` did not make"):
        stage(folder, overwrite=True).run()
    assert (folder / "result").read_text() == "mine"


def test_a_cut_stage_goes_on_from_what_it_left(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    with pytest.raises(RuntimeError, match="cut"):
        stage(folder, fails=True).run()
    assert not stage(folder).is_done()
    assert not (folder / MARKER).exists()
    stage(folder).run()
    assert lines(folder) == 2


def test_a_cut_stage_with_other_inputs_starts_anew_where_that_is_asked_for(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "a"
    with pytest.raises(RuntimeError, match="cut"):
        stage(folder, 1, fails=True).run()
    with pytest.raises(UsageError, match="was started with other data or settings; --overwrite"):
        stage(folder, 2, allow_change=True).run()
    stage(folder, 2, overwrite=True).run()
    assert lines(folder) == 1


def test_a_cut_training_goes_on_with_other_inputs_where_that_is_allowed(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    with pytest.raises(RuntimeError, match="cut"):
        stage(folder, 1, fails=True, kind=TRAINING).run()
    with pytest.raises(UsageError, match="--allow-change resumes with the new ones"):
        stage(folder, 2, kind=TRAINING).run()
    stage(folder, 2, kind=TRAINING, allow_change=True).run()
    assert lines(folder) == 2


def test_a_result_that_was_taken_away_is_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "a"
    stage(folder).run()
    (folder / "result").unlink()
    assert not stage(folder).is_done()
    stage(folder).run()
    assert lines(folder) == 1
    assert "result is missing" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "{", "[]", "null"])
def test_a_truncated_marker_is_ignored(tmp_path: Path, content: str) -> None:
    folder = tmp_path / "a"
    stage(folder).run()
    (folder / MARKER).write_text(content)
    assert not stage(folder).is_done()
    stage(folder).run()
    assert stage(folder).is_done()


def test_seconds_add_up_over_orderly_stops(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    with pytest.raises(RuntimeError, match="cut"):
        stage(folder, fails=True).run()
    begun = json.loads((folder / ".begun.json").read_text())
    (folder / ".begun.json").write_text(json.dumps(begun | {"seconds": 100.0}))
    stage(folder).run()
    assert stage(folder).seconds >= 100.0


def test_a_folder_is_held_by_one(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with exclusive_lock(run), pytest.raises(UsageError, match="another run"), exclusive_lock(run):
        pass
    with exclusive_lock(tmp_path / "run"):
        pass


class Model:
    """Leaves a checkpoint."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self) -> None:
        for name, text in {"checkpoint/weights": "1", "tokenizer.json": "a b"}.items():
            (self.folder / name).parent.mkdir(exist_ok=True)
            (self.folder / name).write_text(text)


@pytest.mark.parametrize("name", ["checkpoint/weights", "tokenizer.json"])
def test_a_model_that_was_replaced_is_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "a"
    kind = Kind("work", "blip work", ("checkpoint/*", "tokenizer.json"))

    def trained(*, overwrite: bool = False) -> Stage:
        return Stage("work", folder, 1, Model(folder), kind, "work", overwrite)

    trained().run()
    whole = (folder / name).read_text()
    # A copy has other times, and is the same model.
    (folder / name).unlink()
    (folder / name).write_text(whole)
    assert trained().is_done()
    (folder / name).write_text("of another model")
    assert not trained().is_done()
    with pytest.raises(UsageError, match=rf"{name} was replaced or edited after work wrote it"):
        trained().run()
    assert (folder / name).read_text() == "of another model"
    trained(overwrite=True).run()
    assert "was replaced or edited; making it again" in capsys.readouterr().err
    assert (folder / name).read_text() == whole
    marker = json.loads((folder / MARKER).read_text())
    (folder / MARKER).write_text(json.dumps({**marker, "model": None}))
    (folder / name).write_text("in a folder of an earlier version")
    assert trained().is_done()
