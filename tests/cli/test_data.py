"""`blip data index` counts, keeps the counts, and names what is broken."""

import json
from pathlib import Path

import pytest

from blip.cli.main import main
from blip.data.sample import Sample
from blip.data.writers.shards import write_shards
from tests.support.pictures import photo


def test_shards_are_counted_and_faults_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_shards([Sample(f"k{i}", photo(i), ("t",)) for i in range(5)], tmp_path / "a", per_shard=3)
    torn = tmp_path / "a/00001.tar"
    torn.write_bytes(torn.read_bytes()[:700])
    cache = tmp_path / "cache"
    assert main(["data", "index", str(tmp_path / "a"), "--cache", str(cache)]) == 0
    output = capsys.readouterr().out.splitlines()
    assert output[0] == f"3 samples in 2 shards, noted in {cache}/index.json"
    assert output[1].startswith(f"{torn} torn_tar: broken off at byte 700")
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
    monkeypatch.setattr("blip.data.readers.remote.ATTEMPTS", 1)
    monkeypatch.setenv("BLIP_CACHE", str(tmp_path / "cache"))
    write_shards([Sample("k", photo(0), ("t",))], tmp_path / "a")
    assert main(["data", action, "pipe:exit 3", str(tmp_path / "a"), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["samples"] == 1
    (fault,) = found["faults"]
    assert fault.startswith("pipe:exit 3 unreadable: ")


def test_what_is_packed_can_be_inspected_and_indexed_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(photo(number))
        (folder / f"{number}.txt").write_text(f"text {number}")
    (folder / "bad.jpg").write_bytes(b"no picture")
    (folder / "t.csv").write_text("path,caption\n0.png,one\nnone.png,two\n")
    write_shards([Sample("k", photo(), ("t",))], tmp_path / "shards")
    names = [str(folder), str(folder / "t.csv"), str(tmp_path / "shards")]
    assert main(["data", "inspect", *names, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {name: found[name] for name in ("shards", "samples", "texts", "bad")} == {
        "shards": 3,
        "samples": 7,
        "texts": 6,
        "bad": 2,
    }
    assert [fault.split()[0] for fault in found["faults"]] == ["photos", "t.csv"]
    assert main(["data", "index", *names, "--cache", str(tmp_path / "cache"), "--json"]) == 0
    output = capsys.readouterr()
    found = json.loads(output.out)
    assert (found["shards"], found["samples"]) == (1, 1)
    assert (found["others"], found["samples_of_others"]) == (2, 6)
    assert "6 samples in 2 tables, folders or compressed tars, which need no index" in output.err
    assert main(["data", "inspect", names[2]]) == 0
    assert "\n\n" not in capsys.readouterr().out


def test_statistics_of_an_earlier_state_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_shards([Sample(f"k{i}", photo(i), ("t",)) for i in range(4)], tmp_path)
    (tmp_path / "00000_stats.json").write_text('{"successes": 9}')
    assert main(["data", "inspect", str(tmp_path)]) == 0
    output = capsys.readouterr().err
    assert "00000_stats.json says 9 samples, the shard holds 4; remove that file" in output


def test_scenes_are_drawn_like_earlier_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ("--human", "2", "--web", "1", "--val", "1", "--test", "1", "--image_size", "24")
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(["data", "scenes", str(first), *few, "--max_objects", "1"]) == 0
    assert main(["data", "scenes", str(second), "--like", str(first), "--questions", "2"]) == 0
    before, after = (json.loads((path / "config.json").read_text()) for path in (first, second))
    assert after == {**before, "questions": 2}
    file = str(first / "config.json")
    assert main(["data", "scenes", str(tmp_path / "third"), "--like", file]) == 0
    assert json.loads((tmp_path / "third/config.json").read_text()) == before
    capsys.readouterr()
    for wrong in (tmp_path / "none", tmp_path):
        assert main(["data", "scenes", str(tmp_path / "x"), "--like", str(wrong)]) == 2
        message = capsys.readouterr().err
        assert f"--like {wrong}: no settings of scenes; allowed: a folder that" in message
        assert message.count("\n") == 1
