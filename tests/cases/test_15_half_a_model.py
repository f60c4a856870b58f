"""Case 15: a checkpoint that has one half of the model is measured by that half."""

import json
from pathlib import Path

import pytest

from blip.cli.main import main
from blip.data.readers.sources import read_samples
from blip.data.writers.shards import write_shards
from tests.support.generators import SHARED, run_generator


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    case = tmp_path_factory.mktemp("case")
    folder = run_generator("15-half-a-model", case, SHARED / "vectors")
    write_shards(read_samples(str(folder / "a.json")), folder / "sh")
    return folder


@pytest.mark.parametrize(
    ("kind", "measured", "missing"),
    [("captioner", "caption", "retrieval"), ("retrieval", "retrieval", "caption")],
)
def test_what_it_can_do_is_measured_and_the_rest_named(
    folder: Path, kind: str, measured: str, missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    command = ["evaluate", str(folder / kind), "--data", str(folder / "sh")]
    if measured == "caption":
        command += ["--max-length", "8"]
    assert main(command) == 0
    out, err = capsys.readouterr()
    assert ("tr1" in out, "cider" in out) == (measured == "retrieval", measured == "caption")
    assert "4 images with 4 texts" in err
    assert f"{missing} is not measured: this model has no text" in err
    assert main([*command, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result[missing] is None
    assert result[measured]
    assert list(result["not_measured"]) == [missing]
    assert result["images"] == 4
