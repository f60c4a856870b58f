"""Every verb that writes refuses an output that is an input, before it writes anything."""

import json
from pathlib import Path

import pytest

from blip.cli.main import main
from tests.support.capfilt import web_data

CAPFILT = ["capfilt", "--captioner", "c", "--filter", "f"]


def files(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize(
    "command",
    [
        [*CAPFILT, "--data", "d/shards", "--out", "d"],
        [*CAPFILT, "--data", "d/shards/*.tar", "--out", "./d/"],
        [*CAPFILT, "--data", "d/shards/{00000..00001}.tar", "--out", "link"],
        [*CAPFILT, "--data", "link/shards", "--out", "d/x/.."],
        [*CAPFILT, "--data", "photos", "--out", "photos"],
        ["capfilt", "--captioner", "d", "--filter", "f", "--data", "photos", "--out", "d"],
        ["data", "pack", "d/shards", "d/shards"],
        ["data", "pack", "photos", "photos"],
        ["data", "pack", "d/shards/*.tar", "link/shards"],
        ["data", "index", "d/shards", "--cache", "d"],
        ["data", "index", "d/shards", "--cache", "d/shards"],
        ["convert", "d", "link"],
        ["index", "photos", "--out", "photos", "--checkpoint", "d"],
        ["index", "d/shards", "--out", "d/shards/../shards", "--checkpoint", "d"],
        ["capfilt", "calibrate", "job", "--labels", "c/calibration.json", "--out", "c"],
        ["capfilt", "recut", "job", "--data", "d/shards", "--out", "d"],
        [
            *("bootstrap", "flickr8k", "--out", "d", "--data.human", "d/data"),
            *("--data.web", "d/shards", "--data.val", "d/shards", "--data.test", "d/shards"),
        ],
    ],
    ids=lambda command: " ".join(command[:2] + command[-1:]),
)
def test_nothing_is_written(
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    web_data(tmp_path / "d/shards", shards=2, samples=2)
    web_data(tmp_path / "d/data", shards=1, samples=2)
    (tmp_path / "d/x").mkdir()
    (tmp_path / "link").symlink_to("d")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").write_bytes(b"")
    (tmp_path / "c").mkdir()
    (tmp_path / "c/calibration.json").write_text(json.dumps([]))
    (tmp_path / "job").mkdir()
    before = files(tmp_path)
    if "job" in command:
        ledgers(tmp_path / "job")
        before = files(tmp_path)
    assert main(command) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("blip: error: the output ")
    assert "would replace the input" in line
    assert files(tmp_path) == before


def ledgers(job: Path) -> None:
    """Of a job over `d/shards` that kept nothing."""
    from blip.capfilt.ledger.files import open_ledger

    for name in ("00000", "00001"):
        with open_ledger(job / f"ledger/{name}.parquet"):
            pass
