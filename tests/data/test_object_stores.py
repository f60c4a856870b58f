"""Shards in an S3 store (a moto server), as on the disk."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from blip.capfilt.config import CapFiltConfig
from blip.capfilt.job import run
from blip.cli.main import main
from blip.data.readers import remote
from blip.data.tokenizer import Tokenizer
from blip.errors import BlipError
from tests.support.capfilt import FakeModels, output_bytes, web_data
from tests.support.object_stores import (
    Wire,
    counts,
    forget_stores,
    need_packages,
    small_tokenizer,
    started,
    write_web,
)
from tests.support.pairs import pair_loader
from tests.support.streams import COUNT, assert_same, make

S3 = ("s3fs", "boto3", "moto", "flask", "flask_cors")
need_packages(S3)


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
    forget_stores(monkeypatch, tmp_path / "blip-cache")


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
    return write_web(tmp_path / "web")


@pytest.fixture
def stored(store: Any, shards: Path) -> Any:
    """The store with these shards under `web/`."""
    for shard in shards.glob("*.tar"):
        store.upload_file(str(shard), "bucket", f"web/{shard.name}")
    return store


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return small_tokenizer()


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
    # Another machine, with nothing in its cache, resumes from the fifth batch.
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
