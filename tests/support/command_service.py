"""`blip serve` in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def served(*arguments: str | Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address of the service of a captioner, and its process, which ends with the block."""
    command = [sys.executable, "-m", "blip", "serve", *map(str, arguments), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        served = json.loads(process.stdout.readline())
        assert set(served["can"]) == {"caption", "match", "features", "attention"}
        yield served["address"], process
    finally:
        process.kill()
        process.wait()
