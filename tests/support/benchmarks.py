"""A benchmark run as a person runs it, with tiny models."""

import os
import runpy
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.forked import start_forked

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run_small(name: str, *more: str) -> str:
    """What `benchmarks/NAME.py --small` prints, as text; its last line is JSON."""
    with TemporaryDirectory() as folder:
        out, errors = Path(folder) / "out", Path(folder) / "errors"
        process = start_forked(_run, BENCHMARKS / f"{name}.py", ["--small", *more], out, errors)
        process.join()
        assert process.exitcode == 0, errors.read_text()
        return out.read_text()


def _run(script: Path, arguments: list[str], out: Path, errors: Path) -> None:
    """The work of a process: a script as `python` would run it."""
    for path, descriptor in ((out, 1), (errors, 2)):
        with path.open("w") as file:
            os.dup2(file.fileno(), descriptor)
    sys.argv = [str(script), *arguments]
    sys.path.insert(0, str(script.parent))
    runpy.run_path(str(script), run_name="__main__")
