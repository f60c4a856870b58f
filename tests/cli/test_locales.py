"""Names that the terminal's encoding lacks are shown as escapes, in whatever locale."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PLAIN = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures that are none, under names of every kind, and their texts."""
    folder = tmp_path_factory.mktemp("names")
    for name in (b"caf\xc3\xa9", b"caf\xe9", b"\xe7\xba\xa2", b"line\nbreak", b"plain"):
        (folder / os.fsdecode(name + b".png")).write_bytes(b"broken")
        (folder / os.fsdecode(name + b".txt")).write_bytes(b"a text")
    return folder


@pytest.mark.parametrize(
    ("words", "environment"),
    [
        (["data", "inspect"], PLAIN),
        (["data", "inspect"], {**PLAIN, "PYTHONIOENCODING": "ascii:strict"}),
        (["data", "inspect"], {"PYTHONIOENCODING": "latin-1:strict"}),
        (["data", "inspect"], {"LC_ALL": "xx_XX.none", "HOME": "/absent", "TMPDIR": "/absent"}),
        (["match", "absent", "red"], PLAIN),
    ],
)
def test_a_name_never_ends_a_command(
    words: list[str], environment: dict[str, str], folder: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "blip", *words, str(folder)],
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
    )
    assert done.returncode in (0, 1, 2)
    assert b"Traceback" not in done.stdout + done.stderr
    assert b"unexpectedly" not in done.stderr
