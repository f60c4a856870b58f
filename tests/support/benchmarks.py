"""A benchmark run as a person runs it, with tiny models."""

import importlib
import os
import runpy
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from tests.support.forked import forks_for_spawns, start_forked

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run_small(name: str, *more: str) -> str:
    """What `benchmarks/NAME.py --small` prints, as text; its last line is JSON."""
    done = run_script(BENCHMARKS / f"{name}.py", ["--small", *more])
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_script(script: Path, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """A benchmark's end, as `subprocess.run` would give it."""
    with TemporaryDirectory() as folder:
        out, errors = Path(folder) / "out", Path(folder) / "errors"
        process = start_forked(_run, script, arguments, out, errors)
        process.join()
        assert process.exitcode is not None
        return subprocess.CompletedProcess(
            [str(script), *arguments], process.exitcode, out.read_text(), errors.read_text()
        )


def _run(script: Path, arguments: Sequence[str], out: Path, errors: Path) -> None:
    """The work of a process: a script as `python` would run it."""
    for path, descriptor in ((out, 1), (errors, 2)):
        with path.open("w") as file:
            os.dup2(file.fileno(), descriptor)
    sys.argv = [str(script), *arguments]
    sys.path.insert(0, str(script.parent))
    # The machine's speed is measured by less work: a figure is enough here.
    machine = importlib.import_module("machine")
    machine.SIDE["cpu"], machine.READ_BYTES = 1024, 2**26
    with forks_for_spawns(), _forks_for_scripts():
        runpy.run_path(str(script), run_name="__main__")


@contextmanager
def _forks_for_scripts() -> Iterator[None]:
    """Where a benchmark starts one in a process of its own, the process is forked."""
    run = subprocess.run

    def run_forking(command: Sequence[str], **how: object) -> subprocess.CompletedProcess[str]:
        program, script, *arguments = map(str, command)
        if program != sys.executable or Path(script).parent != BENCHMARKS or "env" in how:
            return run(command, **how)
        return run_script(Path(script), arguments)

    with patch.object(subprocess, "run", run_forking):
        yield
