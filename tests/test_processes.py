"""Processes are started so that Ctrl-C never reaches them."""

import subprocess
import sys
from pathlib import Path

import pytest

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
