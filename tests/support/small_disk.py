"""A file system so small that it fills up, for tests of what happens then."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(place: Path, size: str = "512k") -> Iterator[Path]:
    """Mount it at `place`; skips where `mount`, which is for the superuser, is refused."""
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no small disk to be had: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def make_room(place: Path, size: str = "16m") -> None:
    """Let the file system grow."""
    subprocess.run(["mount", "-o", f"remount,size={size}", str(place)], check=True)
