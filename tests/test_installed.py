"""What is not installed is named, with the command that installs it."""

import sys
from importlib import metadata

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


def test_the_version_of_a_source_tree_is_unknown(monkeypatch, capsys):
    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "blip unknown\n"
