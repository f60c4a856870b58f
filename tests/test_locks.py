"""Lock files: one holder at a time, free again when it ends, however it ends."""

import errno
import multiprocessing
import os
import signal
import threading
from pathlib import Path

import pytest

from blip.errors import UsageError
from blip.locks import LockedError, hold_lock, wait_for_lock
from blip.stage import exclusive_lock


def hold_until_killed(path: Path, connection) -> None:
    with hold_lock(path):
        connection.send("held")
        connection.recv()


@pytest.fixture
def holder(tmp_path: Path):
    """A process that holds `tmp_path/.lock`."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(
        target=hold_until_killed, args=(tmp_path / ".lock", theirs), daemon=True
    )
    process.start()
    assert ours.poll(30)
    assert ours.recv() == "held"
    yield process
    process.kill()
    process.join()


def test_a_lock_is_free_again_when_its_holder_was_killed(tmp_path, holder):
    with pytest.raises(LockedError), hold_lock(tmp_path / ".lock"):
        raise AssertionError("held twice")
    with (
        pytest.raises(UsageError, match=rf"^another run is writing to {tmp_path}; wait for it"),
        exclusive_lock(tmp_path),
    ):
        raise AssertionError("held twice")
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with hold_lock(tmp_path / ".lock"), pytest.raises(LockedError), hold_lock(tmp_path / ".lock"):
        raise AssertionError("held twice")
    with exclusive_lock(tmp_path):
        pass


def test_who_waits_goes_on_when_the_holder_ends(tmp_path):
    path, order = tmp_path / "new/lock", []

    def second() -> None:
        with wait_for_lock(path):
            order.append("second")

    with wait_for_lock(path):
        thread = threading.Thread(target=second)
        thread.start()
        order.append("first")
    thread.join(30)
    assert order == ["first", "second"]


def test_after_an_error_the_lock_is_free(tmp_path):
    with pytest.raises(RuntimeError), hold_lock(tmp_path / ".lock"):
        raise RuntimeError
    with hold_lock(tmp_path / ".lock"), wait_for_lock(tmp_path / "other"):
        pass


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_reported(tmp_path, monkeypatch, capsys, code):
    def unsupported(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", unsupported)
    # A run of before may have left its lock file.
    for _ in range(2):
        with exclusive_lock(tmp_path / "run"):
            pass
        printed = capsys.readouterr().err
        assert f"{tmp_path}/run cannot be locked ({os.strerror(code)}): start no second" in printed
    lock = wait_for_lock(tmp_path / "run/.lock")
    with pytest.raises(OSError, match=rf"cannot be locked .*{os.strerror(code)}.*run/.lock"), lock:
        raise AssertionError("held without a lock")


def test_a_lock_that_cannot_be_written_is_an_error_of_the_disk(tmp_path):
    (tmp_path / "file").touch()
    lock = hold_lock(tmp_path / "file/.lock")
    with pytest.raises(OSError, match=r"Not a directory|exists"), lock:
        raise AssertionError("held nowhere")
