"""Shards behind a server, and behind commands, become the same bytes as those on this disk."""

import threading
from pathlib import Path

import pytest

from blip.capfilt.job import run
from blip.capfilt.shards.source import find_shards
from blip.data.readers import remote
from blip.errors import BlipError
from tests.support.capfilt import FakeModels, config, output_bytes, web_data
from tests.support.flaky_server import Server

pytest.importorskip("aiohttp")


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setattr(remote, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(remote, "LONGEST_PAUSE", 0.01)
    monkeypatch.setenv("BLIP_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def server(tmp_path):
    web_data(tmp_path / "web")
    with Server(tmp_path / "web") as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def whole(out: Path) -> dict[str, bytes]:
    """Shards and ledger; markers tell where the input was."""
    return {
        name: content
        for name, content in output_bytes(out).items()
        if name.startswith(("shards/", "ledger/"))
    }


def test_a_server_that_fails_gives_the_bytes_of_the_disk(server, tmp_path):
    names = [path.name for path in sorted((tmp_path / "web").glob("*.tar"))]
    run(config(tmp_path, "near", data=(str(tmp_path / "web"),)), models=FakeModels())
    server.flaky = True
    far = config(tmp_path, "far", data=tuple(f"{server.url}/{name}" for name in names))
    summary = run(far, models=FakeModels())
    assert summary.shards == len(names)
    assert whole(tmp_path / "far") == whole(tmp_path / "near") != {}
    gets = sum(server.whole_gets(f"/{name}") for name in names)
    run(far, models=FakeModels())
    assert sum(server.whole_gets(f"/{name}") for name in names) == gets


def test_commands_are_shards_named_by_a_digest(tmp_path):
    web_data(tmp_path / "web")
    first, second = (f"pipe:cat {path}" for path in sorted((tmp_path / "web").glob("*.tar"))[:2])
    names = [task.name for task in find_shards([first, second], rows=10)]
    assert len(set(names)) == 2
    assert all(name.startswith("pipe-") for name in names)
    summary = run(config(tmp_path, data=(first, second)), models=FakeModels())
    assert summary.counts.images == 14
    assert run(config(tmp_path, data=(first, second)), models=FakeModels()).counts.images == 14


def test_what_cannot_be_fetched_ends_in_one_line(tmp_path):
    job = config(tmp_path, data=("pipe:cat nowhere.tar",))
    with pytest.raises(BlipError, match=r"cannot run pipe:cat nowhere\.tar: .*attempt 12 of 12"):
        run(job, models=FakeModels())


def test_a_shard_that_cannot_be_fetched_costs_itself_alone(tmp_path):
    web_data(tmp_path / "web")
    lost = "pipe:cat nowhere.tar"
    job = config(tmp_path, data=(lost, str(tmp_path / "web")))
    with pytest.raises(BlipError, match=r"shard pipe-\S+ \(pipe:cat nowhere.tar\) failed"):
        run(job, models=FakeModels())
    assert len(list((tmp_path / "out/done").iterdir())) == 3
