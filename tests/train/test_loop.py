"""The loop: a cut run ends as a whole one, bad steps are skipped, signals leave a checkpoint."""

import errno
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.distributed import DistError

from blip.errors import BlipError, UsageError
from blip.log import say_once
from blip.nn import device
from blip.train import loop
from tests.support.forked import start_forked
from tests.support.ranks import start_ranks
from tests.support.toy_training import (
    ToyBatch,
    ToyLoader,
    ToyState,
    make_toy,
    resume_from_failing_disk,
    run_toy,
    toy_config,
    train_toy,
)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "checkpoint" / "model.safetensors")


def steps_logged(folder: Path) -> list[int]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


def wait_for_step(folder: Path, step: int, process: BaseProcess) -> None:
    log = folder / "metrics.jsonl"
    for _ in range(3000):
        if log.exists() and len(log.read_bytes().splitlines()) >= step:
            return
        assert process.is_alive(), "the run ended before it was to be killed"
        time.sleep(0.01)
    raise AssertionError("the run never came to that step")


def exit_status(process: BaseProcess) -> int | None:
    process.join(60)
    return process.exitcode


def test_killed_at_several_steps_it_reaches_the_same_weights(tmp_path: Path) -> None:
    steps = 40
    assert exit_status(start_forked(run_toy, tmp_path / "whole", steps)) == 0
    for killed_at in (3, 9, 18, 30):
        process = start_forked(run_toy, tmp_path / "cut", steps)
        wait_for_step(tmp_path / "cut", killed_at, process)
        process.kill()
        assert exit_status(process) == -signal.SIGKILL
    assert exit_status(start_forked(run_toy, tmp_path / "cut", steps)) == 0
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert whole.keys() == cut.keys()
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    assert steps_logged(tmp_path / "cut") == list(range(1, steps + 1))


def test_sigterm_leaves_a_checkpoint_and_ends_well(tmp_path: Path) -> None:
    process = start_forked(run_toy, tmp_path, 100_000)
    wait_for_step(tmp_path, 2, process)
    process.terminate()
    assert exit_status(process) == 0
    (found,) = (tmp_path / "checkpoints").glob("step-*")
    assert int(found.name.removeprefix("step-")) == steps_logged(tmp_path)[-1]
    assert not (tmp_path / "checkpoint").exists()


def test_accumulation_equals_the_large_batch(tmp_path: Path) -> None:
    class Halves(ToyLoader):
        """The batches of the other loader, cut in two."""

        def batches(self, start):
            for batch in ToyLoader(8).batches(start // 2):
                yield type(batch)(batch.points[:4], batch.targets[:4])
                yield type(batch)(batch.points[4:], batch.targets[4:])

    halves = Halves()
    halves.steps_per_epoch = 10
    states: list[ToyState] = []

    def make_state(*arguments: Any) -> ToyState:
        states.append(ToyState(*arguments))
        return states[-1]

    train_toy(tmp_path / "whole", toy_config(6), make_toy(make_state=make_state), ToyLoader(8))
    config = toy_config(6, accumulation=2)
    train_toy(tmp_path / "halves", config, make_toy(make_state=make_state), halves)
    of_whole, of_halves = states
    # An average that moves once an update, however many batches that has.
    torch.testing.assert_close(of_halves.slow, of_whole.slow, rtol=1e-3, atol=1e-5)
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "halves")
    for name in whole:
        # Adam divides by the size of the gradient: rounding of small ones is seen.
        torch.testing.assert_close(whole[name], cut[name], rtol=1e-3, atol=1e-4)


def test_a_step_without_a_finite_loss_is_skipped_and_counted(tmp_path: Path) -> None:
    train_toy(tmp_path, toy_config(8), make_toy(), ToyLoader(poison=frozenset({2, 5})))
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["skipped"] == 2
    assert all(value.isfinite().all() for value in weights(tmp_path).values())


def test_many_in_a_row_stop_the_run_with_the_last_good_checkpoint(tmp_path: Path) -> None:
    loader = ToyLoader(poison=frozenset(range(5, 100)))
    with pytest.raises(BlipError, match="3 updates in a row"):
        train_toy(tmp_path, toy_config(50, max_nonfinite=3), make_toy(), loader)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000004"]


def test_the_last_good_checkpoint_is_from_before_the_bad_updates(tmp_path: Path) -> None:
    """Two checkpoints are due while updates fail: neither of them is the last good one."""
    config = toy_config(50, max_nonfinite=7, keep_checkpoints=1)
    loader = ToyLoader(poison=frozenset(range(6, 100)))
    with pytest.raises(BlipError, match=r"7 updates in a row .* is .*/step-00000004$"):
        train_toy(tmp_path, config, make_toy(), loader)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000004"]


def test_a_stop_amid_bad_updates_keeps_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopping(ToyState):
        def context(self, batch: ToyBatch, epoch: float) -> torch.Tensor:
            if torch.isnan(batch.targets).any() and not list(tmp_path.glob("*/step-00000007")):
                self.bad = getattr(self, "bad", 0) + 1
                if self.bad == 2:
                    os.kill(os.getpid(), signal.SIGTERM)
            return super().context(batch, epoch)

    loader = ToyLoader(poison=frozenset(range(5, 100)))
    config = toy_config(50, max_nonfinite=6, keep_checkpoints=1)
    assert train_toy(tmp_path, config, make_toy(make_state=Stopping), loader)
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-00000004", "step-00000007"]
    # The same command resumes amid them, and counts on from there.
    with pytest.raises(BlipError, match=r"6 updates in a row .*step 11.* is .*/step-00000004$"):
        train_toy(tmp_path, config, make_toy(), loader)


def test_a_checkpoint_that_is_due_amid_bad_updates_is_written_after_them(tmp_path: Path) -> None:
    loader = ToyLoader(poison=frozenset({7, 8, *range(13, 100)}))
    with pytest.raises(BlipError, match="step-00000012"):
        train_toy(tmp_path, toy_config(50, max_nonfinite=3, keep_checkpoints=5), make_toy(), loader)
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-00000004", "step-00000010", "step-00000012"]


def test_weights_that_are_not_finite_are_never_a_result(tmp_path: Path) -> None:
    """The last update has a finite gradient and leads nowhere: no loss would ever tell."""

    class Overflowing(ToyState):
        updates = 0

        def after_update(self, *contexts: torch.Tensor) -> None:
            super().after_update(*contexts)
            self.updates += 1
            if self.updates == 6:
                self.step.net[0].weight.data.mul_(1e38).mul_(1e38)

    with pytest.raises(
        BlipError, match=r"net\..* not finite, and no model .* is .*/step-00000004$"
    ):
        train_toy(tmp_path, toy_config(6), make_toy(make_state=Overflowing), ToyLoader())
    assert not (tmp_path / "checkpoint").exists()


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """A run that ended after 4 steps, as those that followed had no finite loss."""
    loader = ToyLoader(poison=frozenset(range(5, 100)))
    with pytest.raises(BlipError):
        train_toy(tmp_path, toy_config(8, max_nonfinite=1), make_toy(), loader)
    return tmp_path


def test_other_data_is_refused_unless_asked_for(
    stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = ToyLoader()
    other.order = "other"
    with pytest.raises(UsageError, match=r"data has changed .* 4 steps .* --allow-change"):
        train_toy(stopped, toy_config(8), make_toy(), other)
    train_toy(stopped, toy_config(8), make_toy(), other, allow_change=True)
    assert "the data differs from that of the first 4 steps" in capsys.readouterr().err


def test_a_checkpoint_of_an_earlier_version_is_of_this_data(
    stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = ToyLoader()
    other.order, other.former_order = "content", "toy"
    train_toy(stopped, toy_config(8), make_toy(), other)
    assert "an earlier version wrote the checkpoint" in capsys.readouterr().err


def test_a_truncated_checkpoint_is_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_toy(tmp_path / "whole", toy_config(12), make_toy(0.3), ToyLoader())
    loader = ToyLoader(poison=frozenset(range(9, 100)))
    with pytest.raises(BlipError):
        train_toy(tmp_path / "cut", toy_config(12, max_nonfinite=1), make_toy(0.3), loader)
    newest = tmp_path / "cut" / "checkpoints" / "step-00000008" / "training.pt"
    newest.write_bytes(newest.read_bytes()[:100])
    train_toy(tmp_path / "cut", toy_config(12), make_toy(0.3), ToyLoader())
    assert "step-00000008: training.pt cannot be read" in capsys.readouterr().err
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def train_until_step_9(folder: Path) -> None:
    loader = ToyLoader(poison=frozenset(range(9, 100)))
    with pytest.raises(BlipError, match="no finite loss"):
        train_toy(folder, toy_config(12, max_nonfinite=1), make_toy(0.3), loader)


def test_a_disk_that_fails_for_a_while_costs_no_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_toy(tmp_path / "whole", toy_config(12), make_toy(0.3), ToyLoader())
    train_until_step_9(tmp_path / "cut")
    before = content(tmp_path / "cut")

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "load", fail)
        with pytest.raises(BlipError, match=r"step-00000008 cannot be read: .*Input/output"):
            train_toy(tmp_path / "cut", toy_config(12), make_toy(0.3), ToyLoader())
    assert content(tmp_path / "cut") == before
    train_toy(tmp_path / "cut", toy_config(12), make_toy(0.3), ToyLoader())
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    assert steps_logged(tmp_path / "cut") == list(range(1, 13))


def test_where_all_checkpoints_are_damaged_nothing_begins_from_scratch(tmp_path: Path) -> None:
    train_until_step_9(tmp_path)
    for state in tmp_path.glob("checkpoints/*/training.pt"):
        state.write_bytes(b"torn")
    before = content(tmp_path)
    with pytest.raises(BlipError, match=r"no checkpoint in .* is whole"):
        train_toy(tmp_path, toy_config(12), make_toy(0.3), ToyLoader())
    assert content(tmp_path) == before


def test_a_disk_that_fails_ends_all_processes_alike(tmp_path: Path) -> None:
    train_until_step_9(tmp_path)
    processes = start_ranks(2, resume_from_failing_disk, tmp_path, 12)
    assert [exit_status(process) for process in processes] == [0, 0]
    first, second = ((tmp_path / f"error-{rank}").read_text() for rank in range(2))
    assert first == second
    assert "step-00000008 cannot be read: [Errno 5] Input/output error" in first


def test_only_the_newest_checkpoints_are_kept_until_the_end(tmp_path: Path) -> None:
    loader = ToyLoader(poison=frozenset(range(13, 100)))
    with pytest.raises(BlipError):
        train_toy(tmp_path, toy_config(20, max_nonfinite=1), make_toy(), loader)
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-00000008", "step-00000012"]
    train_toy(tmp_path, toy_config(20), make_toy(), ToyLoader())
    assert not (tmp_path / "checkpoints").exists()


def test_evaluation_is_logged_when_asked(tmp_path: Path) -> None:
    train_toy(tmp_path, toy_config(6, evaluate_every=3, log_every=6), make_toy(), ToyLoader())
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "slow" in line] == [3, 6]


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), DistError("a process has gone")]
)
def test_only_a_checkpoint_that_does_not_fit_is_blamed_on_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    loader = ToyLoader(poison=frozenset(range(9, 100)))
    with pytest.raises(BlipError):
        train_toy(tmp_path, toy_config(12, max_nonfinite=1), make_toy(), loader)

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(loop, "load_weights", fail)
    with pytest.raises(type(error), match=str(error)):
        train_toy(tmp_path, toy_config(12), make_toy(), ToyLoader())
    error = RuntimeError("size mismatch for net.0.weight")
    with pytest.raises(UsageError, match="not of this configuration: size mismatch"):
        train_toy(tmp_path, toy_config(12), make_toy(), ToyLoader())


def test_a_training_says_that_bfloat16_is_emulated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for precision in ("float32", "bfloat16"):
        for has_it in (True, False):
            monkeypatch.setattr(device, "bfloat16_multiplies", lambda has_it=has_it: has_it)
            say_once.cache_clear()
            config = replace(toy_config(1), precision=precision)
            train_toy(tmp_path / f"{precision}-{has_it}", config, make_toy(), ToyLoader())
            said = "this CPU only emulates bfloat16" in capsys.readouterr().err
            assert said is (precision == "bfloat16" and not has_it)


def test_the_gpu_that_is_named_is_the_current_one_for_the_whole_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered: list[str] = []
    seen: list[tuple[str, list[str]]] = []

    @contextmanager
    def as_current(device: torch.device) -> Iterator[None]:
        entered.append(str(device))
        yield
        entered.pop()

    def noting(name: str) -> None:
        real = getattr(loop, name)

        def note(*given: Any, **named: Any) -> Any:
            seen.append((name, [*entered]))
            return real(*given, **named)

        monkeypatch.setattr(loop, name, note)

    monkeypatch.setattr(loop, "as_current", as_current)
    for name in ("make_optimizer", "random_state", "whole_weights"):
        noting(name)
    train_toy(tmp_path, toy_config(5), make_toy(), ToyLoader())
    assert {name for name, _ in seen} == {"make_optimizer", "random_state", "whole_weights"}
    assert all(there == ["cpu"] for _, there in seen)
    assert not entered
