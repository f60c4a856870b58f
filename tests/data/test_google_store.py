"""Shards in an emulator of Google's store, as on the disk."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from blip.data.readers import remote
from blip.data.tokenizer import Tokenizer
from tests.support.object_stores import (
    Wire,
    counts,
    forget_stores,
    need_packages,
    small_tokenizer,
    started,
    write_web,
)
from tests.support.streams import assert_same, make

GOOGLE = ("gcsfs", "gcp_storage_emulator", "google.cloud.storage")
need_packages(GOOGLE)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    forget_stores(monkeypatch, tmp_path / "blip-cache")


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    return write_web(tmp_path / "web")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return small_tokenizer()


@pytest.fixture
def google(shards: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """An emulator of Google's store with these shards in `bucket/web/`."""
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
