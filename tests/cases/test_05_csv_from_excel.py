"""Case 05: byte order marks are no part of names and captions; Latin-1 is counted."""

from pathlib import Path

import pytest

from blip.cli.main import main
from blip.data.readers.patterns import expand
from blip.data.readers.shards import read_shard
from tests.support.generators import run_generator


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_generator("05-csv-from-excel", tmp_path_factory.mktemp("case"))


BOTH = {"000000000": "one", "000000001": "two"}


@pytest.mark.parametrize(
    ("name", "written", "left_out"),
    [
        ("mark.csv", BOTH, ""),
        ("mark_key.csv", {"k1": "one", "k2": "two"}, ""),
        ("latin.csv", {"000000001": "two"}, "left out: text_not_utf8 1"),
        ("mark.json", {"a": "one"}, ""),
        (".", {"a": "a red dog"}, "left out: missing_text 1"),
    ],
)
def test_pack(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    written: dict[str, str],
    left_out: str,
) -> None:
    assert main(["data", "pack", str(folder / name), str(tmp_path / "out")]) == 0
    output = capsys.readouterr().err
    assert left_out in output
    assert ("left out" in output) == bool(left_out)
    [shard] = expand([str(tmp_path / "out")])
    assert {s.key: s.texts[0] for s in read_shard(shard)} == written
