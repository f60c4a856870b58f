"""What is not installed is named, with the command that installs it."""

import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from blip import installed
from blip.cli.main import main
from blip.errors import UsageError


def test_a_missing_library_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UsageError, match=r"^Weights & Biases is not installed .*'blip-capfilt\[w"):
        installed.need("wandb", "Weights & Biases", "wandb")


def test_a_broken_library_is_not_called_missing(monkeypatch, tmp_path):
    (tmp_path / "broken_board.py").write_text("raise ImportError('libx.so is gone')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=r"Board cannot be imported \(libx.so is gone\)"):
        installed.need("broken_board", "Board", "tensorboard")


@pytest.mark.parametrize(
    ("library", "arguments"),
    [("torch", ["convert", ".", "out"]), ("PIL", ["data", "scenes", "out"])],
)
def test_a_missing_required_library_is_one_line_that_says_what_to_install(
    library, arguments, tmp_path
):
    """In a process of its own, which has loaded nothing yet."""
    program = f"import sys; sys.modules[{library!r}] = None; from blip.cli.main import main; "
    done = subprocess.run(
        [sys.executable, "-c", f"{program}sys.exit(main({arguments!r}))"],
        env=os.environ | {"BLIP_CACHE": str(tmp_path / "cache")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    line = f"blip: error: blip {arguments[0]}: {library} is not installed; "
    assert (done.returncode, done.stderr) == (1, f"{line}pip install blip-capfilt\n")
    assert not (tmp_path / "cache").exists()


def test_the_required_libraries_are_those_of_the_distribution():
    content = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    dependencies = tomllib.loads(content)["project"]["dependencies"]
    names = {re.split("[>=<]", line)[0] for line in dependencies}
    imports = {"pillow": "PIL"}
    assert {imports.get(name.lower(), name.lower()) for name in names} == installed.REQUIRED


def test_the_version_of_a_source_tree_is_unknown(monkeypatch, capsys):
    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "blip unknown\n"
