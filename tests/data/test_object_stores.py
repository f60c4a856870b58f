"""Shards in an S3 store (a moto server) and in an emulator of Google's, as on the disk."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from blip.capfilt.config import CapFiltConfig
from blip.capfilt.job import run
from blip.cli.main import main
from blip.data.readers import remote
from blip.data.readers.counts import index_shards, locate
from blip.data.sample import Sample
from blip.data.tokenizer import Tokenizer
from blip.data.writers.shards import write_shards
from blip.errors import BlipError
from tests.support.capfilt import FakeModels, output_bytes, web_data
from tests.support.pairs import pair_loader
from tests.support.pictures import photo
from tests.support.streams import COUNT, assert_same, make

S3 = ("s3fs", "boto3", "moto", "flask", "flask_cors")
GOOGLE = ("gcsfs", "gcp_storage_emulator", "google.cloud.storage")
INSTALL = "pip install s3fs gcsfs 'moto[s3]' flask flask-cors gcp-storage-emulator"


def _is_there(package: str) -> bool:
    with suppress(ModuleNotFoundError):
        return find_spec(package) is not None
    return False


if missing := [package for package in S3 if not _is_there(package)]:
    pytest.skip(f"no {', '.join(missing)}; {INSTALL}", allow_module_level=True)


@contextmanager
def started(*command: str) -> Iterator[int]:
    """A server of this Python's on a free port; ended with the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [word.format(port=port) for word in command]
    quiet = subprocess.DEVNULL
    with subprocess.Popen([sys.executable, *words], stdout=quiet, stderr=quiet) as process:
        try:
            deadline = time.monotonic() + 60
            while True:
                assert process.poll() is None, f"{words} ended with {process.returncode}"
                with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                assert time.monotonic() < deadline, f"{words} does not answer"
                time.sleep(0.05)
            yield port
        finally:
            process.terminate()


class Wire:
    """Hands bytes on to a server, and breaks off the next answers when asked."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.cuts, self.after, self.silent = 0, 0, 0
        self.asked: list[str] = []
        """The heads of the requests."""
        self.door = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.door.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.door.accept()
                server = socket.create_connection(("127.0.0.1", self.port))
                ends = client, server, threading.Event()
                for way in (self._ask, self._answer):
                    threading.Thread(target=way, args=ends, daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket, gone: threading.Event) -> None:
        with suppress(OSError):
            while content := client.recv(1 << 16):
                self.asked.append(content.decode("latin-1"))
                server.sendall(content)
        gone.set()
        with suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _answer(self, client: socket.socket, server: socket.socket, gone: threading.Event) -> None:
        passed = 0
        with suppress(OSError), client, server:
            while content := server.recv(1 << 16):
                passed += len(content)
                if self.silent:
                    self.silent -= 1
                    # Until the client has had enough.
                    gone.wait(60)
                    return
                if self.cuts and passed > self.after:
                    self.cuts -= 1
                    client.sendall(content[: len(content) // 2])
                    client.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(content)


@pytest.fixture(scope="module")
def s3_port() -> Iterator[int]:
    with started("-m", "moto.server", "-H", "127.0.0.1", "-p", "{port}") as port:
        yield port


@pytest.fixture
def wire(s3_port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """The way to the store, which is where the environment says that S3 is."""
    wire = Wire(s3_port)
    for name in [name for name in os.environ if name.startswith(("AWS_", "FSSPEC_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", wire.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    yield wire
    wire.door.close()


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Libraries keep what they know of a store, its address and keys too."""
    from fsspec.asyn import AsyncFileSystem

    monkeypatch.setattr(remote, "FIRST_PAUSE", 0.001)
    monkeypatch.setenv("BLIP_CACHE", str(tmp_path / "blip-cache"))
    for kind in AsyncFileSystem.__subclasses__():
        kind.clear_instance_cache()


@pytest.fixture
def store(wire: Wire, s3_port: int) -> Iterator[Any]:
    """An empty store with `bucket`."""
    client = pytest.importorskip("boto3").client("s3", endpoint_url=f"http://127.0.0.1:{s3_port}")
    client.create_bucket(Bucket="bucket")
    yield client
    for found in client.list_objects_v2(Bucket="bucket").get("Contents", []):
        client.delete_object(Bucket="bucket", Key=found["Key"])


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    write_shards(
        [Sample(f"k{i}", photo(i), (f"text {i}",)) for i in range(COUNT)], tmp_path / "web", 6
    )
    return tmp_path / "web"


@pytest.fixture
def stored(store: Any, shards: Path) -> Any:
    """The store with these shards under `web/`."""
    for shard in shards.glob("*.tar"):
        store.upload_file(str(shard), "bucket", f"web/{shard.name}")
    return store


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train([f"text {i}" for i in range(COUNT)] * 3, vocabulary_size=100)


def counts(pattern: str, cache: Path) -> list[tuple[str, int, str, int]]:
    found = index_shards(locate([pattern]), cache)
    return [(s.location, s.facts.size, s.facts.tag, s.samples) for s in found]


@pytest.mark.usefixtures("stored")
def test_globs_ranges_and_folders_name_the_same_shards(shards: Path, tmp_path: Path) -> None:
    patterns = ("{00000..00003}.tar", "*.tar", "0000?.tar", "[0]*.tar", "")
    found = [counts(f"s3://bucket/web/{p}", tmp_path / f"c{n}") for n, p in enumerate(patterns)]
    assert [location for location, *_ in found[0]] == [
        f"s3://bucket/web/0000{n}.tar" for n in range(4)
    ]
    assert [size for _, size, _, _ in found[0]] == [
        path.stat().st_size for path in sorted(shards.glob("*.tar"))
    ]
    assert [samples for *_, samples in found[0]] == [6, 6, 6, 5]
    assert len({tag for _, _, tag, _ in found[0]} - {""}) == 4
    assert all(other == found[0] for other in found)


@pytest.mark.usefixtures("stored")
def test_a_stream_gives_the_rows_of_the_disk_to_ranks_that_resume(
    shards: Path, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    far = make("s3://bucket/web/*.tar", tmp_path / "far", stream="auto", workers=1)
    near = make(str(shards), tmp_path / "near")
    assert_same(far, near, tokenizer)
    whole = list(islice(pair_loader(near, tokenizer).batches(0), 12))
    # Another machine, with nothing in its cache, goes on from the fifth batch.
    other = make("s3://bucket/web/{00000..00003}.tar", tmp_path / "other")
    for rank in range(2):
        part = list(islice(pair_loader(other, tokenizer, rank, 2).batches(5), 7))
        for batch, of_all in zip(part, whole[5:], strict=True):
            assert batch.keys == of_all.keys[rank::2]
            assert torch.equal(batch.images, of_all.images[rank::2])


@pytest.mark.parametrize("size", [200_000, 60_000_000], ids=["small", "in-parts"])
def test_broken_connections_are_taken_up_again(
    wire: Wire, store: Any, tmp_path: Path, size: int
) -> None:
    content = os.urandom(size)
    store.put_object(Bucket="bucket", Key="large.tar", Body=content)
    wire.cuts, wire.after = 7, 50_000
    remote.fetch("s3://bucket/large.tar", tmp_path / "large.tar")
    assert wire.cuts == 0
    assert (tmp_path / "large.tar").read_bytes() == content


@pytest.mark.usefixtures("stored")
def test_counting_goes_through_broken_connections(wire: Wire, tmp_path: Path) -> None:
    wire.cuts, wire.after = 5, 10_000
    assert sum(samples for *_, samples in counts("s3://bucket/web/", tmp_path)) == COUNT
    assert wire.cuts == 0


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    ("location", "environment", "message"),
    [
        ("s3://bucket/none.tar", {}, r"cannot find s3://bucket/none.tar: not found"),
        ("s3://nobucket/a.tar", {}, r"find s3://nobucket/a.tar: The specified bucket does not"),
        ("s3://nobucket/*.tar", {}, r"no shards at s3://nobucket/\*.tar"),
        ("s3://bucket/none/*.tar", {}, r"no shards at s3://bucket/none/\*.tar"),
        ("s3://*.tar", {}, r"cannot list s3://\*.tar: Cannot traverse all of S3"),
        ("s3://No!/a.tar", {}, r"validation failed: Invalid bucket name \"No!\""),
        ("s3://bucket/web", {}, r"s3://bucket/web is a folder; end it with / for all its tars"),
        ("s3://bucket/web/00000.tar", {"AWS_ACCESS_KEY_ID": ""}, r"credentials"),
        ("s3://bucket/web/00000.tar", {"AWS_PROFILE": "nobody"}, r"profile \(nobody\) could not"),
        ("s3://bucket/web/", {"AWS_ENDPOINT_URL": "minio:9000"}, r"Invalid endpoint: minio:9000"),
    ],
)
def test_what_cannot_succeed_is_tried_once(
    location: str,
    environment: dict[str, str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main(["data", "index", location]) in (1, 2)
    # A shard that cannot be read is a line of the result; a pattern that names none is an error.
    output = "".join(capsys.readouterr()).strip().splitlines()
    assert len(output) == 1
    assert re.search(message, output[0])


@pytest.mark.usefixtures("stored")
def test_wrong_keys_are_tried_once(s3_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    with keys_are_checked(s3_port):
        for location, reason in (
            ("s3://bucket/web/*.tar", "The AWS Access Key Id you provided does not exist"),
            ("s3://bucket/web/00000.tar", "Forbidden"),
        ):
            assert main(["data", "index", location]) == 1
            assert reason in "".join(capsys.readouterr())
        with pytest.raises(
            BlipError, match=r"cannot fetch s3://\S+tar: The AWS Access Key Id [^(]+$"
        ):
            remote.fetch("s3://bucket/web/00000.tar", Path(os.devnull))
    assert main(["data", "index", "s3://bucket/web/*.tar"]) == 0


@contextmanager
def keys_are_checked(port: int) -> Iterator[None]:
    from urllib.request import Request, urlopen

    def allow(unchecked: float) -> None:
        address, kind = f"http://127.0.0.1:{port}/moto-api/reset-auth", "text/plain"
        request = Request(address, str(unchecked).encode(), {"Content-Type": kind})
        with urlopen(request) as answer:
            assert answer.status == 200

    allow(0)
    try:
        yield
    finally:
        allow(float("inf"))


def test_a_store_that_is_away_is_asked_again(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wire.door.close()
    monkeypatch.setattr(remote, "ATTEMPTS", 2)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(BlipError, match=r"Could not connect to the endpoint.*attempt 2 of 2"):
        remote.facts("s3://bucket/web/00000.tar")
    assert "attempt 2 follows" in capsys.readouterr().err


def test_a_shard_that_was_replaced_after_the_listing_is_fetched(
    stored: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "LISTING_EXPIRY", 0.2)
    (location,) = remote.expand_remote("s3://bucket/web/*3.tar")
    stored.put_object(Bucket="bucket", Key="web/00003.tar", Body=b"another")
    remote.fetch(location, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"another"


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    ("settings", "seen"),
    [
        ({"anon": True}, lambda head: "authorization:" not in head),
        ({"requester_pays": True}, lambda head: "x-amz-request-payer: requester" in head),
    ],
)
def test_settings_of_the_library_come_from_the_environment(
    wire: Wire, tmp_path: Path, settings: dict, seen: Callable[[str], bool]
) -> None:
    """It reads them once, when it is imported: hence a process."""
    command = [sys.executable, "-m", "blip", "data", "index", "s3://bucket/web/00000.tar"]
    environment = os.environ | {"FSSPEC_S3": json.dumps(settings)}
    wire.asked.clear()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    # The server lets nobody in who has not signed; what counts is what was asked.
    assert done.returncode == (1 if "anon" in settings else 0), done.stderr
    assert wire.asked
    assert all(seen(head.lower()) for head in wire.asked)


@pytest.mark.usefixtures("stored")
def test_inspect_looks_through_stored_shards(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reports = []
    for where in ("s3://bucket/web/*.tar", str(shards)):
        assert main(["data", "inspect", where, "--json"]) == 0
        reports.append(json.loads(capsys.readouterr().out))
    assert reports[0] == reports[1]
    assert (reports[0]["samples"], reports[0]["bad"]) == (COUNT, 0)
    assert not (tmp_path / "blip-cache/shards").exists()


def test_capfilt_makes_the_same_bytes_and_goes_on(wire: Wire, store: Any, tmp_path: Path) -> None:
    web_data(tmp_path / "web")
    for shard in (tmp_path / "web").glob("*.tar"):
        store.upload_file(str(shard), "bucket", f"web/{shard.name}")

    def job(out: str, data: str) -> CapFiltConfig:
        return CapFiltConfig(
            captioner="c", filter="f", data=(data,), out=str(tmp_path / out), batch_size=3
        )

    run(job("near", str(tmp_path / "web")), models=FakeModels())
    far = job("far", "s3://bucket/web/*.tar")
    wire.cuts, wire.after = 3, 2_000
    run(far, models=FakeModels())
    assert fetched(wire)
    same = [
        {
            name: content
            for name, content in output_bytes(tmp_path / out).items()
            if name.startswith(("shards/", "ledger/"))
        }
        for out in ("near", "far")
    ]
    assert same[0] == same[1] != {}
    wire.asked.clear()
    run(far, models=FakeModels())
    assert wire.asked
    assert not fetched(wire)


def fetched(wire: Wire) -> list[str]:
    return [head for head in wire.asked if re.match(r"GET /bucket/web/\w+\.tar", head)]


@pytest.fixture
def google(shards: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """An emulator of Google's store with these shards in `bucket/web/`."""
    if missing := [package for package in GOOGLE if not _is_there(package)]:
        pytest.skip(f"no {', '.join(missing)}; {INSTALL}")
    nobody = pytest.importorskip("google.auth.credentials").AnonymousCredentials()
    storage = pytest.importorskip("google.cloud.storage")
    command = "from gcp_storage_emulator.server import create_server as create; "
    command += "create('127.0.0.1', {port}, True).run()"
    with started("-c", command) as port:
        wire = Wire(port)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
        client = storage.Client(project="none", credentials=nobody)
        bucket = client.create_bucket("bucket")
        for shard in shards.glob("*.tar"):
            bucket.blob(f"web/{shard.name}").upload_from_filename(str(shard))
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", wire.url)
        yield wire
        wire.door.close()


def test_google_shards_are_listed_fetched_and_streamed(
    google: Wire, shards: Path, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    patterns = ("{00000..00003}.tar", "*.tar", "0000?.tar", "")
    found = [counts(f"gs://bucket/web/{p}", tmp_path / f"c{n}") for n, p in enumerate(patterns)]
    assert Counter(samples for *_, samples in found[0]) == {6: 3, 5: 1}
    assert all(other == found[0] for other in found)
    google.cuts, google.after = 2, 10_000
    far = make("gs://bucket/web/*.tar", tmp_path / "far")
    assert_same(far, make(str(shards), tmp_path / "near"), tokenizer)
    assert google.cuts == 0


def test_a_silent_google_is_asked_again(
    google: Wire, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "READ_TIMEOUT", 0.5)
    google.silent = 2
    remote.fetch("gs://bucket/web/00000.tar", tmp_path / "copy")
    assert google.silent == 0
    assert (tmp_path / "copy").read_bytes() == (shards / "00000.tar").read_bytes()


@pytest.mark.usefixtures("google")
def test_what_google_lacks_is_reported_at_once_in_one_line() -> None:
    """In a process of its own: here, pytest takes what libraries log."""
    unreadable = "gs://bucket/{0} unreadable: {1}"
    for location, line in (
        (
            "gs://bucket/none.tar",
            unreadable.format("none.tar", "cannot find gs://bucket/none.tar: not found"),
        ),
        ("gs://nobucket/*.tar", "blip: error: cannot list gs://nobucket/*.tar: not found"),
        (
            "gs://bucket/web",
            unreadable.format("web", "gs://bucket/web is a folder; end it with / for all its tars"),
        ),
    ):
        command = [sys.executable, "-m", "blip", "data", "index", location]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stdout + done.stderr == f"{line}\n"
