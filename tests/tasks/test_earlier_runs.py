"""Runs that an earlier version began are resumed, and end with the weights that it gave them."""

import json
import os
import tarfile
from contextlib import chdir
from pathlib import Path

import pytest

from blip.cli.main import main
from tests.support.earlier_runs import RUNS, resume, sums

ARCHIVE = Path(__file__).with_name("begun_runs_0.tar.xz")
"""Of the last commit before checkpoint folders had a format number; see `earlier_runs`."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def test_the_archive_is_small() -> None:
    assert ARCHIVE.stat().st_size < 200_000


@pytest.mark.parametrize("kind", RUNS)
def test_a_training_goes_on_where_an_earlier_version_stopped(folder: Path, kind: str) -> None:
    recorded = json.loads((folder / "weights.json").read_text())[kind]
    assert os.listdir(folder / kind / "checkpoints") == ["step-00000002"]
    with chdir(folder):
        assert main(resume(kind)) == 0
        found = sums(Path(kind))
    logged = (folder / kind / "metrics.jsonl").read_text().splitlines()
    if kind == "pretrain":
        assert [json.loads(line)["step"] for line in logged] == [1, 2, 3]
    assert found.keys() == recorded.keys()
    for name, values in recorded.items():
        if name.endswith("key_value.bias"):
            # Softmax ignores the bias of keys: its gradient is rounding, which AdamW makes a step.
            continue
        assert found[name] == pytest.approx(values, rel=1e-4, abs=1e-5), name


@pytest.mark.parametrize("kind", RUNS)
def test_another_configuration_is_refused_in_one_line(
    folder: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with chdir(folder):
        assert main([*resume(kind), "--train.optimizer.lr", "0.01"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "started with another configuration (train.optimizer.lr 0.01, was " in line
    assert "--allow-change resumes" in line
