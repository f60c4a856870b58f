"""Runs the generators of users' inputs that broke something."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("BLIP_SHARED", "../shared")).absolute()


def run_generator(name: str, folder: Path, *arguments: str | Path) -> Path:
    """Let a case's generator write into `folder`; the test is skipped where there is none."""
    generator = SHARED / "cases" / name / "gen.py"
    if not generator.is_file():
        pytest.skip(f"no generator at {generator} (set BLIP_SHARED)")
    folder.mkdir(parents=True, exist_ok=True)
    # Where it starts `blip`, that is the one of the tests.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    source = str(Path(__file__).parents[2] / "src")
    command = [sys.executable, str(generator), *map(str, arguments)]
    environment = {**os.environ, "PATH": path, "PYTHONPATH": source}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder
