"""Shards behind a server that fails and comes back, and behind commands, give the same rows."""

import os
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import fsspec
import pytest
import torch

from blip.data.examples.evaluation_set import EvaluationSet
from blip.data.readers import remote
from blip.data.readers.cache import UNKNOWN, ShardCache
from blip.data.readers.counts import index_shards, locate
from blip.data.readers.prefetch import Fetcher
from blip.data.sample import Sample
from blip.data.tokenizer import Tokenizer
from blip.data.writers.shards import write_shards
from blip.errors import BlipError, UsageError
from tests.support.flaky_server import Server
from tests.support.pairs import pair_loader
from tests.support.pictures import photo
from tests.support.quick_disk import renamed_unflushed
from tests.support.streams import COUNT, assert_same, make

pytest.importorskip("aiohttp")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train([f"text {i}" for i in range(COUNT)] * 3, vocabulary_size=100)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    samples = [Sample(f"k{i}", photo(i), (f"text {i}",)) for i in range(COUNT)]
    write_shards(samples, tmp_path / "shards", per_shard=6)
    return tmp_path / "shards"


@pytest.fixture
def server(shards: Path) -> Iterator[Server]:
    with Server(shards) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(remote, "LONGEST_PAUSE", 0.01)


def test_a_folder_of_a_store_stands_for_tars_in_upper_case() -> None:
    store = fsspec.filesystem("memory")
    for name in ("0.tar", "1.TAR", "2.txt"):
        store.pipe(f"/upper/{name}", b"")
    found = remote.expand_remote("memory://upper/")
    assert [location.rpartition("/")[2] for location in found] == ["0.tar", "1.TAR"]
    with pytest.raises(UsageError, match=r"no shards at memory://nothing/\*\.tar"):
        remote.expand_remote("memory://nothing/")


def test_a_folder_that_cannot_be_listed_is_named_as_it_was_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(self: object, path: str) -> list[str]:
        raise PermissionError("closed")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "glob", refuse)
    with pytest.raises(BlipError, match=r"cannot list memory://upper/\*\.tar: closed"):
        remote.expand_remote("memory://upper/")


def test_a_set_to_evaluate_is_fetched(server: Server, shards: Path) -> None:
    fetched, local = (
        EvaluationSet([place], 16) for place in (f"{server.url}/{{00000..00003}}.tar", str(shards))
    )
    assert (fetched.keys, [*fetched.contents]) == (local.keys, [*local.contents])


def test_a_server_that_breaks_off_and_comes_back(
    server: Server, shards: Path, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    server.flaky = True
    over_http = make(f"{server.url}/{{00000..00003}}.tar", tmp_path / "http", stream="auto")
    assert_same(over_http, make(str(shards), tmp_path / "local"), tokenizer)
    copies = sorted((tmp_path / "http/shards").glob("*.tar"))
    assert sorted(c.read_bytes() for c in copies) == sorted(
        s.read_bytes() for s in shards.glob("*.tar")
    )
    # Counted and fetched once, in spite of four lanes and several epochs.
    server.flaky, before = False, len(server.asked)
    next(pair_loader(over_http, tokenizer).batches(7))
    assert {kind for kind, _ in server.asked[before:]} == {"HEAD"}


def test_counts_of_img2dataset_are_asked_for_first(
    server: Server, shards: Path, tmp_path: Path
) -> None:
    (shards / "00001_stats.json").write_text('{"successes": 5, "count": 9}')
    found = index_shards(locate([f"{server.url}/{{00000,00001}}.tar"]), tmp_path / "cache")
    assert [shard.samples for shard in found] == [6, 5]
    assert server.whole_gets("/00001.tar") == 0


def test_commands_are_run(shards: Path, tmp_path: Path, tokenizer: Tokenizer) -> None:
    (tmp_path / "tries").mkdir()
    command = f"pipe:mkdir {tmp_path}/tries/$$ && cat {shards}/{{00000..00003}}.tar"
    assert len(locate([command])) == 4
    piped = make(command, tmp_path / "piped")
    local = make(str(shards), tmp_path / "local")
    ours = list(islice(pair_loader(piped, tokenizer).batches(0), 12))
    theirs = list(islice(pair_loader(local, tokenizer).batches(0), 12))
    assert [batch.keys for batch in ours] == [batch.keys for batch in theirs]
    assert all(torch.equal(a.images, b.images) for a, b in zip(ours, theirs, strict=True))
    # One pass to count, one to keep.
    assert len(list((tmp_path / "tries").iterdir())) == 8


def test_a_command_that_fails_is_tried_again_and_reported(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    once = f"pipe:test -e {flag} && echo whole || {{ touch {flag}; echo half; exit 3; }}"
    remote.fetch(once, tmp_path / "out")
    assert (tmp_path / "out").read_text() == "whole\n"
    with pytest.raises(
        BlipError, match=r"cannot run pipe:echo no >&2; exit 7: .* status 7, no \(a"
    ):
        remote.fetch("pipe:echo no >&2; exit 7", tmp_path / "out")


def test_what_cannot_be_fetched_is_reported_with_its_address(
    server: Server, tmp_path: Path
) -> None:
    cache = ShardCache(tmp_path / "cache", 10**9)
    with pytest.raises(BlipError, match=f"cannot fetch {server.url}/none.tar"):
        cache.open(f"{server.url}/none.tar")
    assert server.whole_gets("/none.tar") == 1
    url = server.url
    server.shutdown()
    server.server_close()
    with pytest.raises(BlipError, match=rf"cannot fetch {url}/00000.tar: .*\(attempt 12 of 12\)"):
        cache.open(f"{url}/00000.tar")
    with pytest.raises(UsageError, match=r"cannot read odd://x/y\.tar"):
        cache.open("odd://x/y.tar")
    assert list(cache.folder.glob("*.tar")) == []


def test_the_cache_keeps_its_bound_and_what_was_used_last(
    server: Server, shards: Path, tmp_path: Path
) -> None:
    size = max(shard.stat().st_size for shard in shards.glob("*.tar"))
    cache = ShardCache(tmp_path / "cache", 2 * size)
    left = cache.folder / f"{'0' * 20}.tar.part"
    mine = cache.folder / "mine.tar"
    cache.folder.mkdir(parents=True)
    mine.write_bytes(b"somebody's own, and older than all copies" * size)
    os.utime(mine, (0, 0))
    open_files = []
    for name in ("00000", "00001", "00000", "00002"):
        open_files.append(cache.open(f"{server.url}/{name}.tar"))
        left.write_bytes(b"left by a killed process")
        time.sleep(0.02)
    assert mine.exists(), "only copies go"
    mine.unlink()
    taken = sum(path.stat().st_size for path in cache.folder.glob("*.tar"))
    assert taken <= 2 * size
    assert not left.exists() or server.whole_gets("/00002.tar") == 1
    assert server.whole_gets("/00000.tar") == 1
    # 00001 has gone; its open file is readable all the same.
    assert open_files[1].read() == (shards / "00001.tar").read_bytes()
    cache.open(f"{server.url}/00000.tar").close()
    assert server.whole_gets("/00000.tar") == 1
    cache.open(f"{server.url}/00001.tar").close()
    assert server.whole_gets("/00001.tar") == 2
    for file in open_files:
        file.close()


def test_a_copy_is_on_the_disk_before_it_counts_as_there(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unflushed = renamed_unflushed(monkeypatch)
    ShardCache(tmp_path / "cache", 10**9).bring(f"{server.url}/00000.tar")
    assert server.whole_gets("/00000.tar") == 1
    assert unflushed == []


@pytest.mark.parametrize("left", [0, 100])
def test_a_copy_that_lacks_bytes_is_fetched_again(
    server: Server, shards: Path, tmp_path: Path, left: int
) -> None:
    """A power cut leaves such copies under their names."""
    address = f"{server.url}/00000.tar"
    known = remote.facts(address)
    copy = ShardCache(tmp_path / "cache", 10**9).bring(address, known)
    os.truncate(copy, left)
    cache = ShardCache(tmp_path / "cache", 10**9)
    with cache.open(address, known) as file:
        assert file.read() == (shards / "00000.tar").read_bytes()
    cache.open(address, known).close()
    assert server.whole_gets("/00000.tar") == 2


def test_a_shard_that_changed_since_it_was_counted_is_fetched_once(
    server: Server, tmp_path: Path
) -> None:
    """Its size is never again the one that is known."""
    address = f"{server.url}/00000.tar"
    known = remote.facts(address)
    cache = ShardCache(tmp_path / "cache", 10**9)
    for _ in range(3):
        cache.bring(address, known._replace(size=known.size - 1))
    assert server.whole_gets("/00000.tar") == 1


def test_processes_and_threads_share_a_copy(server: Server, tmp_path: Path) -> None:
    caches = [ShardCache(tmp_path / "cache", 10**9) for _ in range(8)]
    threads = [
        threading.Thread(target=cache.bring, args=(f"{server.url}/00000.tar",)) for cache in caches
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.whole_gets("/00000.tar") == 1


def test_a_changed_shard_is_counted_and_fetched_anew(
    server: Server, shards: Path, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    config = make(f"{server.url}/00000.tar", tmp_path / "cache")
    assert pair_loader(config, tokenizer).num_examples == 6
    write_shards(
        [Sample(f"n{i}", photo(i), ("text 1",)) for i in range(9)], tmp_path / "new", per_shard=9
    )
    (tmp_path / "new/00000.tar").replace(shards / "00000.tar")
    os.utime(shards / "00000.tar", (2e9, 2e9))
    loader = pair_loader(config, tokenizer)
    assert loader.num_examples == 9
    assert {key[0] for batch in islice(loader.batches(0), 3) for key in batch.keys} == {"n"}


def test_shards_are_fetched_ahead(server: Server, tmp_path: Path) -> None:
    cache = ShardCache(tmp_path / "cache", 10**9)
    fetcher = Fetcher(cache)
    for name in ("none", "00000", "00001", "00000"):
        fetcher.ask(f"{server.url}/{name}.tar", UNKNOWN)
    deadline = time.monotonic() + 60
    while len(list(cache.folder.glob("*.tar"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.whole_gets("/00000.tar") == server.whole_gets("/00001.tar") == 1


def test_pauses_grow_up_to_the_longest_and_every_retry_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(remote, "FIRST_PAUSE", 0.5)
    monkeypatch.setattr(remote, "LONGEST_PAUSE", 30.0)
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)

    def work() -> None:
        raise ConnectionError("no line")

    with pytest.raises(BlipError, match=r"^cannot phone: no line \(attempt 12 of 12\)$"):
        remote.with_retries(work, "phone")
    assert slept == [0.75, 1.5, 3.0, 6.0, 12.0, 24.0, *[45.0] * 5]
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "cannot phone: no line; attempt 2 follows"
    assert lines[-1] == "cannot phone: no line; attempt 12 follows"


def test_what_a_retry_cannot_mend_is_tried_once() -> None:
    tried: list[int] = []

    def work() -> None:
        tried.append(1)
        raise PermissionError("closed")

    with pytest.raises(BlipError, match=r"^cannot open the door: closed$"):
        remote.with_retries(work, "open the door")
    assert tried == [1]
