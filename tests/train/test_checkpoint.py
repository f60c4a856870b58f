"""Checkpoints: written behind the training, whole or not there, however the process ends."""

import errno
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from threading import Event
from typing import Any
from unittest.mock import patch

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from blip.errors import BlipError, UsageError
from blip.train.checkpoint import (
    Checkpoints,
    SaveModel,
    adopt,
    has_checkpoints,
    random_state,
    restore_random_state,
)

ROOT = Path(__file__).parents[2]


def save_nothing(folder: Path, weights: Mapping[str, Tensor]) -> None:
    (folder / "model").write_text("whole")


def checkpoints(run: Path, keep: int = 2, save_model: SaveModel = save_nothing) -> Checkpoints:
    return Checkpoints(run, keep=keep, save_model=save_model)


def state(**more: Any) -> dict[str, Any]:
    return {"weights": {}, **more}


def write(found: Checkpoints, step: int, state: dict[str, Any]) -> None:
    found.begin(step, state)
    found.wait()


def newest_of(found: Checkpoints) -> dict[str, Any] | None:
    step = found.newest()
    return None if step is None else found.read(step)


def names(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def test_what_is_written_is_the_state_at_the_call(tmp_path: Path) -> None:
    """Training goes on in place while the thread has not begun to write."""
    module = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(module.parameters(), fused=True)
    module(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    moment = optimizer.state_dict()["state"][0]["exp_avg"].clone()
    go_on = Event()

    def save_model(folder: Path, weights: Mapping[str, Tensor]) -> None:
        assert go_on.wait(timeout=60)
        save_file(dict(weights), folder / "model.safetensors")

    found = checkpoints(tmp_path, save_model=save_model)
    now = {
        "weights": {name: value.detach() for name, value in module.state_dict().items()},
        "optimizer": optimizer.state_dict(),
        "more": [(1, torch.ones(2))],
    }
    found.begin(3, now)
    for _ in range(3):
        optimizer.step()
    go_on.set()
    newest = newest_of(found)
    assert newest is not None
    assert newest["step"] == 3
    assert all(torch.equal(newest["weights"][name], before[name]) for name in before)
    assert not torch.equal(module.weight, before["weight"])
    assert torch.equal(newest["optimizer"]["state"][0]["exp_avg"], moment)
    assert newest["more"][0][0] == 1
    model = load_file(tmp_path / "checkpoints/step-00000003/model.safetensors")
    assert all(torch.equal(model[name], before[name]) for name in before)


def test_one_at_a_time_and_the_newest_are_kept(tmp_path: Path) -> None:
    at_work, most = [], []

    def save_model(folder: Path, weights: Mapping[str, Tensor]) -> None:
        at_work.append(folder)
        most.append(len(at_work))
        # As long as the next `begin` would take to start another.
        time.sleep(0.05)
        at_work.remove(folder)

    found = checkpoints(tmp_path, save_model=save_model)
    for step in range(1, 6):
        found.begin(step, state())
    found.wait()
    assert most == [1] * 5
    assert names(tmp_path) == ["step-00000004", "step-00000005"]


def test_old_ones_go_only_when_the_new_one_is_whole(tmp_path: Path) -> None:
    seen = []
    found = checkpoints(tmp_path, 1, lambda folder, weights: seen.append(names(tmp_path)))
    write(found, 1, state())
    write(found, 2, state())
    assert "step-00000001" in seen[1]
    assert names(tmp_path) == ["step-00000002"]


def test_a_failure_is_raised_by_the_next_call_and_the_one_before_is_whole(tmp_path: Path) -> None:
    def save_model(folder: Path, weights: Mapping[str, Tensor]) -> None:
        if folder.name in (".step-00000002.part", ".step-00000005.part"):
            raise OSError(28, "No space left on device")

    found = checkpoints(tmp_path, save_model=save_model)
    write(found, 1, state(a=1))
    found.begin(2, state(a=2))
    with pytest.raises(BlipError, match=r"of step 2 could not .* No space left"):
        found.begin(3, state(a=3))
    newest = newest_of(found)
    assert newest is not None
    assert newest["a"] == 1
    assert names(tmp_path) == ["step-00000001"]
    # The error is raised once; the next checkpoint may be written.
    write(found, 4, state(a=4))
    assert names(tmp_path) == ["step-00000001", "step-00000004"]
    with pytest.raises(BlipError, match="step 5"):
        write(found, 5, state())


PROGRAM = """
import sys, time
from pathlib import Path
import torch
from blip.train.checkpoint import Checkpoints

def save_model(folder, weights):
    (folder / "model").write_bytes(b"x" * 1000)
    if not weights["a"].all():
        print("writing", flush=True)
        time.sleep(600)

found = Checkpoints(Path(sys.argv[1]), keep=1, save_model=save_model)
found.begin(1, {"weights": {"a": torch.ones(3)}})
found.wait()
found.begin(2, {"weights": {"a": torch.zeros(3)}})
time.sleep(600)
"""


def test_a_kill_during_the_write_leaves_the_one_before(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        process.kill()
    assert len(names(tmp_path)) == 2
    found = checkpoints(tmp_path, keep=1)
    newest = newest_of(found)
    assert newest is not None
    assert newest["step"] == 1
    assert torch.equal(newest["weights"]["a"], torch.ones(3))
    # What the killed one left is cleared away, also where its step never comes again.
    write(found, 3, state())
    assert names(tmp_path) == ["step-00000003"]


def test_going_on_from_another_run(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for step in (10, 20):
        write(checkpoints(first), step, state(at=step))
    adopt(first / "checkpoints/step-00000010", second)
    newest = newest_of(checkpoints(second))
    assert newest is not None
    assert (newest["step"], newest["at"]) == (10, 10)
    # The same command again: its own checkpoints are newer.
    write(checkpoints(second), 11, state(at=11))
    adopt(first, second)
    assert names(second) == ["step-00000010", "step-00000011"]
    # Neither run can spoil the other's.
    write(checkpoints(second, keep=1), 12, state(at=12))
    assert names(first) == ["step-00000010", "step-00000020"]
    adopt(first, tmp_path / "third")
    assert names(tmp_path / "third") == ["step-00000020"]


def test_files_of_the_run_that_another_starts_from_stay_as_they_are(tmp_path: Path) -> None:
    write(checkpoints(tmp_path / "first"), 10, state())
    (source,) = (tmp_path / "first/checkpoints").iterdir()
    for file in source.iterdir():
        file.chmod(0o440)
    # Its owner has moved the model, and left a link.
    (source / "model").rename(tmp_path / "model")
    (source / "model").symlink_to("../../../model")
    adopt(tmp_path / "first", tmp_path / "second")
    assert {file.stat().st_mode & 0o777 for file in source.iterdir()} == {0o440}
    assert checkpoints(tmp_path / "second").newest() == 10


def test_resuming_from_a_place_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    for wrong in ("none", "torn/step-00000003"):
        (tmp_path / wrong).mkdir(parents=True)
        with pytest.raises(UsageError, match=f"{wrong} is not a checkpoint to resume from"):
            adopt(tmp_path / wrong, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_truncated_later_checkpoint_costs_no_whole_one(tmp_path: Path) -> None:
    found = checkpoints(tmp_path, keep=1)
    write(found, 100, {"weights": {}, "a": 1})
    write(found, 200, {"weights": {}, "a": 2})
    (tmp_path / "checkpoints/step-00000200/training.pt").write_bytes(b"torn")
    write(found, 150, {"weights": {}, "a": 3})
    newest = newest_of(found)
    assert newest is not None
    assert newest["step"] == 150


def test_a_later_checkpoint_goes_only_once_it_is_found_damaged(tmp_path: Path) -> None:
    found = checkpoints(tmp_path, keep=1)
    write(found, 200, state())
    write(found, 100, state())
    assert names(tmp_path) == ["step-00000100", "step-00000200"]
    (tmp_path / "checkpoints/step-00000200/model").unlink()
    assert found.newest() == 100
    write(found, 150, state())
    assert names(tmp_path) == ["step-00000150"]
    # The step at which one was damaged comes again.
    write(found, 200, state())
    assert names(tmp_path) == ["step-00000200"]
    write(found, 150, state())
    assert names(tmp_path) == ["step-00000150", "step-00000200"]


NOT_DAMAGED = [
    OSError(errno.EIO, "Input/output error"),
    OSError(errno.ESTALE, "Stale file handle"),
    PermissionError(errno.EACCES, "Permission denied"),
    MemoryError("no memory"),
    RuntimeError("unable to mmap 10 bytes from file <x>: Cannot allocate memory (12)"),
    RuntimeError("version 99 of the format is not supported; this PyTorch may be too old"),
]


@pytest.mark.parametrize("error", NOT_DAMAGED, ids=str)
def test_a_checkpoint_that_cannot_be_read_now_is_not_damaged(
    tmp_path: Path, error: Exception
) -> None:
    found = checkpoints(tmp_path)
    for step in (1, 2):
        write(found, step, state())
    # Without checksums, what a torch that is too old cannot read looks damaged.
    if "version 99" not in str(error):
        (tmp_path / "checkpoints/step-00000002/checksums.json").unlink()
    with patch("torch.load", side_effect=error):
        calls = (found.newest, lambda: found.read(2), lambda: adopt(tmp_path, tmp_path / "other"))
        for call in calls:
            with pytest.raises(BlipError, match="step-00000002 cannot be read: ") as raised:
                call()
            assert str(error) in str(raised.value)
            assert "\n" not in str(raised.value)
        assert found.last_good() is None
    assert not (tmp_path / "other").exists()
    assert found.newest() == 2


@pytest.mark.parametrize("error", NOT_DAMAGED[:4], ids=str)
def test_checksums_that_cannot_be_compared_now_show_no_damage(
    tmp_path: Path, error: Exception
) -> None:
    found = checkpoints(tmp_path)
    write(found, 1, state())
    for name in ("blip.files._sha256", "blip.files.parse_json"):
        unreadable = pytest.raises(BlipError, match="step-00000001 cannot be read")
        with patch(name, side_effect=error), unreadable:
            found.newest()
    assert found.newest() == 1


def test_a_folder_that_cannot_be_listed_is_not_empty(tmp_path: Path) -> None:
    found = checkpoints(tmp_path)
    write(found, 1, state())
    # What `glob` takes for an empty folder.
    denied = PermissionError(errno.EACCES, "Permission denied")
    with patch("os.scandir", side_effect=denied), patch("os.listdir", side_effect=denied):
        for look in (found.newest, lambda: has_checkpoints(tmp_path)):
            with pytest.raises(BlipError, match=r"checkpoints cannot be read: .*denied"):
                look()
    assert not has_checkpoints(tmp_path / "other")
    assert found.newest() == 1


@pytest.mark.parametrize("name", ["training.pt", "model"])
def test_a_checkpoint_without_one_of_its_files_is_passed_over(tmp_path: Path, name: str) -> None:
    found = checkpoints(tmp_path)
    for step in (1, 2):
        write(found, step, state())
    (tmp_path / "checkpoints/step-00000002" / name).unlink()
    assert found.newest() == 1


def test_a_run_with_damaged_checkpoints_alone_does_not_begin_again(tmp_path: Path) -> None:
    found = checkpoints(tmp_path)
    assert found.newest() is None
    for step in (1, 2):
        write(found, step, state())
        (tmp_path / f"checkpoints/step-0000000{step}/training.pt").write_bytes(b"torn")
    with pytest.raises(BlipError, match=r"no checkpoint in .* is whole.* move .* away .* --out"):
        found.newest()
    assert names(tmp_path) == ["step-00000001", "step-00000002"]


@pytest.mark.parametrize("name", ["training.pt", "model", "checksums.json"])
def test_a_flipped_bit_is_named_and_the_checkpoint_passed_over(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = checkpoints(tmp_path)
    for step in (1, 2):
        write(found, step, state(a=torch.full((1000,), float(step))))
    damaged = tmp_path / "checkpoints/step-00000002" / name
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    newest = newest_of(found)
    assert newest is not None
    assert newest["step"] == 1
    printed = capsys.readouterr().err
    assert "step-00000002: " in printed
    # Which file's checksum it was that changed cannot be known.
    assert name == "checksums.json" or f"step-00000002: {name}" in printed


def test_a_checkpoint_of_an_earlier_version_is_taken_with_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = checkpoints(tmp_path)
    write(found, 1, state(a=1))
    (tmp_path / "checkpoints/step-00000001/checksums.json").unlink()
    assert newest_of(found) is not None
    assert "step-00000001 has no checksums.json" in capsys.readouterr().err


def test_names_of_earlier_versions_are_read_as_those_of_today(tmp_path: Path) -> None:
    found = checkpoints(tmp_path)
    write(found, 1, state(**{"followers": {"momentum": {}}, "task": {"drawn": 3}}))
    assert found.read(1) == {
        "weights": {}, "momentum_encoders": {"momentum": {}}, "state": {"drawn": 3}, "step": 1
    }  # fmt: skip


def test_weights_that_are_not_finite_are_not_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = checkpoints(tmp_path, keep=1)
    write(found, 1, state())
    write(found, 2, {"weights": {"fine": torch.ones(2), "proj": torch.tensor([1.0, torch.nan])}})
    assert names(tmp_path) == ["step-00000001"]
    assert "step 2: no checkpoint is written, as proj is not finite" in capsys.readouterr().err


def test_what_is_not_ours_stays_in_the_folder(tmp_path: Path) -> None:
    for name in ("thesis/a.doc", "step-one/a.doc", ".step-mine/a.doc", "step-00000001/a.doc"):
        (tmp_path / "checkpoints" / name).parent.mkdir(parents=True)
        (tmp_path / "checkpoints" / name).touch()
    found = checkpoints(tmp_path, keep=1)
    write(found, 2, state())
    write(found, 3, state())
    found.remove()
    assert names(tmp_path) == [".step-mine", "step-00000001", "step-one", "thesis"]
    assert len(list(tmp_path.rglob("a.doc"))) == 4


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_files_are_as_readable_as_the_umask_says(tmp_path: Path, umask: int) -> None:
    """Safetensors makes its files for their owner alone."""

    def save_model(folder: Path, weights: Mapping[str, Tensor]) -> None:
        save_file({"a": torch.ones(2)}, folder / "model.safetensors")

    before = os.umask(umask)
    try:
        write(checkpoints(tmp_path, save_model=save_model), 1, state())
    finally:
        os.umask(before)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 3
    assert {path.stat().st_mode & 0o777 for path in files} == {0o666 & ~umask}


def test_a_gpu_that_nothing_uses_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda: pytest.fail("it was started"))
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda _: pytest.fail("it was started"))
    state = random_state()
    assert "cuda" not in state
    restore_random_state({**state, "cuda": torch.zeros(1)})
