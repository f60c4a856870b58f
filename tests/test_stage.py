"""Stages are done once, done again when inputs change, and gone on with where they were cut."""

import json
from pathlib import Path

import pytest

from blip.errors import UsageError
from blip.stage import MARKER, Stage, alone


class Work:
    """Appends a line to `folder/result` and may then fail."""

    def __init__(self, folder: Path, *, fails: bool = False) -> None:
        self.folder, self.fails = folder, fails

    def __call__(self) -> None:
        with (self.folder / "result").open("a") as file:
            file.write("done\n")
        if self.fails:
            raise RuntimeError("cut")


def stage(folder: Path, inputs: object = 1, *, fails: bool = False) -> Stage:
    return Stage("work", folder, inputs, Work(folder, fails=fails), "[1/1] work: write a line")


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


def test_other_inputs_clear_the_old_result_and_say_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "a"
    stage(folder, 1).run()
    (folder / "left-over").touch()
    stage(folder, 2).run()
    assert lines(folder) == 1
    assert not (folder / "left-over").exists()
    assert "its inputs changed" in capsys.readouterr().err
    assert not stage(folder, 1).is_done()


def test_a_cut_stage_goes_on_from_what_it_left(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    with pytest.raises(RuntimeError, match="cut"):
        stage(folder, fails=True).run()
    assert not stage(folder).is_done()
    assert not (folder / MARKER).exists()
    stage(folder).run()
    assert lines(folder) == 2


def test_a_cut_stage_with_other_inputs_starts_anew(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    with pytest.raises(RuntimeError, match="cut"):
        stage(folder, 1, fails=True).run()
    stage(folder, 2).run()
    assert lines(folder) == 1


def test_a_result_that_was_taken_away_is_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "a"
    stage(folder).run()
    (folder / "result").unlink()
    assert not stage(folder).is_done()
    stage(folder).run()
    assert lines(folder) == 1
    assert "result is gone" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"inputs": "other"}'])
def test_a_torn_marker_counts_as_none(tmp_path: Path, content: str) -> None:
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
    with alone(run), pytest.raises(UsageError, match="another run"), alone(run):
        pass
    with alone(tmp_path / "run"):
        pass
