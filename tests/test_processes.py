"""Processes are started so that Ctrl-C never reaches them, and tell the memory of themselves."""

import subprocess
import sys
from pathlib import Path

import pytest

from blip.processes import most_memory, most_open_files

PROGRAM = """
import multiprocessing
import signal

from blip.processes import start_process


def show():
    print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))


if __name__ == "__main__":
    for _ in range(2):
        process = multiprocessing.get_context("spawn").Process(target=show)
        start_process(process)
        process.join()
    show()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no masks of signals")
def test_no_process_receives_sigint_not_even_the_first_one(tmp_path: Path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["True", "True", "False"]


@pytest.mark.skipif(sys.platform != "linux", reason="others count the memory of their parent")
@pytest.mark.parametrize("start", ["vfork", "fork"])
def test_the_memory_of_a_process_is_not_that_of_its_parent(
    start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "_USE_VFORK", start == "vfork")
    held = b"x" * (150 << 20)
    program = "from blip.processes import most_memory; print(most_memory())"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    most = most_memory()
    assert most is not None
    assert most > len(held)
    assert 1 << 20 < int(done.stdout) < len(held)


def test_the_number_of_open_files_is_that_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    for limit, expected in ((256, 256), (resource.RLIM_INFINITY, None)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, limit=limit: (limit, limit))
        assert most_open_files() == expected
