"""Case 02: null is no caption; numbers and records are counted and never written."""

import json
from pathlib import Path

import pytest

from blip.capfilt.shards.source import find_shards, read_samples
from blip.cli.main import main
from blip.data.readers.patterns import expand
from blip.data.readers.shards import read_shard
from tests.support.generators import run_generator


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_generator("02-null-captions", tmp_path_factory.mktemp("case"))


FINE = ("b", ("fine",))


@pytest.mark.parametrize(
    ("name", "status", "written", "left_out"),
    [
        ("null.json", 0, [FINE], {"missing_text": 1}),
        ("number.json", 0, [FINE], {"text_not_a_string": 1}),
        ("inner.json", 0, [("a", ("one", "three")), FINE], {}),
        ("object.json", 0, [FINE], {"text_not_a_string": 1}),
        ("inner.parquet", 0, [("000000000", ("one", "three"))], {"missing_text": 1}),
        ("records.parquet", 1, [], {"text_not_a_string": 1}),
        ("numbers.parquet", 1, [], {"text_not_a_string": 2}),
    ],
)
def test_pack_and_capfilt(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    status: int,
    written: list[tuple[str, tuple[str, ...]]],
    left_out: dict[str, int],
) -> None:
    assert main(["data", "pack", str(folder / name), str(tmp_path / "out")]) == status
    output = capsys.readouterr().err
    assert all(f"{reason} {count}" in output for reason, count in left_out.items())
    shards = expand([str(tmp_path / "out")]) if written else []
    assert [(s.key, s.texts) for shard in shards for s in read_shard(shard)] == written
    if written:
        done = json.loads((tmp_path / "out/.pack.json").read_text())
        assert done["left_out"] == left_out
    # CapFilt writes captions for pictures that have none.
    [task] = find_shards([str(folder / name)], 100)
    samples = list(read_samples(task))
    assert all(sample.image for sample in samples)
    assert [(s.key, s.texts) for s in samples if s.error is None] == written
