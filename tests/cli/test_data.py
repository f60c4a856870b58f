"""`blip data index` counts, keeps the counts, and names what is broken."""

import json
from pathlib import Path

import pytest

from blip.cli.main import main
from blip.data.sample import Sample
from blip.data.shards import pack
from tests.data.pictures import photo


def test_shards_are_counted_and_faults_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack([Sample(f"k{i}", photo(i), ("t",)) for i in range(5)], tmp_path / "a", per_shard=3)
    torn = tmp_path / "a/00001.tar"
    torn.write_bytes(torn.read_bytes()[:700])
    cache = tmp_path / "cache"
    assert main(["data", "index", str(tmp_path / "a"), "--cache", str(cache)]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == f"3 samples in 2 shards, noted in {cache}/index.json"
    assert told[1].startswith(f"{torn} torn_tar: broken off at byte 700")
    assert main(["data", "index", str(tmp_path / "a"), "--cache", str(cache), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["samples"], found["shards"], len(found["faults"])) == (3, 2, 1)
    assert found["bytes"] == sum(path.stat().st_size for path in (tmp_path / "a").iterdir())


def test_shards_that_are_not_there_are_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "index", "nowhere/{0..3}.tar"]) == 2
    assert "no shards at nowhere/{0..3}.tar" in capsys.readouterr().err


@pytest.mark.parametrize("action", ["index", "inspect"])
def test_a_shard_that_cannot_be_read_is_named_and_the_others_counted(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    action: str,
) -> None:
    monkeypatch.setattr("blip.data.remote.ATTEMPTS", 1)
    monkeypatch.setenv("BLIP_CACHE", str(tmp_path / "cache"))
    pack([Sample("k", photo(0), ("t",))], tmp_path / "a")
    assert main(["data", action, "pipe:exit 3", str(tmp_path / "a"), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["samples"] == 1
    (fault,) = found["faults"]
    assert fault.startswith("pipe:exit 3 unreadable: ")
