"""A benchmark run as a person runs it, with tiny models."""

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run_small(name: str, *more: str) -> str:
    """What `benchmarks/NAME.py --small` prints, as text; its last line is JSON."""
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--small", *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
