"""What a person may name as a checkpoint, released names and downloads among it."""

import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub.constants
import pytest
import torch

from blip.errors import BlipError, UsageError
from blip.model.checkpoint.contents import Contents, read_contents
from blip.model.checkpoint.locate import find_weights
from blip.model.checkpoint.released import RELEASES, fetch_huggingface, fetch_original
from blip.model.checkpoint.written import write_original, write_ours
from tests.support.tiny import tiny_model


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, and no way out of this machine."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HOME", str(folder))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return folder


def contents() -> Contents:
    model = tiny_model()
    return Contents(model.config, model.state_dict())


def test_folders_runs_and_files_are_found(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "checkpoint"
    folder.mkdir(parents=True)
    write_ours(contents(), folder)
    write_original(contents(), tmp_path / "model.pth")
    weights = folder / "model.safetensors"
    for source in (folder, tmp_path / "run", weights):
        assert find_weights(source) == weights
    assert find_weights(str(tmp_path / "model.pth")) == tmp_path / "model.pth"


def test_a_place_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoint").mkdir(parents=True)
    write_ours(contents(), tmp_path / "run" / "checkpoint")
    (tmp_path / "notes.txt").write_text("no weights")
    for source, message in {
        "absent": "no checkpoint at .*absent: no such folder or file",
        "notes.txt": r"notes\.txt is not a file of weights; allowed: \.safetensors, \.pth",
        "cache": "no such folder",
        ".": "is not a checkpoint folder; it holds .*run",
    }.items():
        with pytest.raises(UsageError, match=message):
            find_weights(tmp_path / source)
    with pytest.raises(UsageError, match=r"https://a\.org/model\.pth is a URL, .* download it, or"):
        find_weights("https://a.org/model.pth")
    with pytest.raises(UsageError, match=r"original:model_bas is not a released .* model_base_14M"):
        find_weights("original:model_bas")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("Salesforce/blip-vqa-base", "hf:Salesforce/blip-vqa-base"),
        ("model_base_nlvr", "original:model_base_nlvr"),
        ("weights/model_large.pth", "original:model_large"),
    ],
)
def test_a_name_of_another_library_is_refused_with_ours(typed: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"no such folder or file; the released one is {meant}$"):
        find_weights(typed)


@pytest.mark.parametrize("name", ["original:model_base", "hf:Salesforce/blip-vqa-base"])
def test_being_offline_is_reported_in_one_line(name: str) -> None:
    with pytest.raises(BlipError) as caught:
        find_weights(name)
    message = str(caught.value)
    assert "\n" not in message
    assert re.search("HF_HUB_OFFLINE|cache", message)


@pytest.mark.parametrize("name", ["no/such/name", "", "spaces are wrong/x"])
def test_a_name_that_the_hub_cannot_have_is_refused(name: str) -> None:
    with pytest.raises(BlipError, match="can neither be downloaded nor found in the cache"):
        fetch_huggingface(name)


def fetched_before(cache: Path) -> Path:
    """The folder of `hf:org/name` in the hub's cache."""
    snapshots = cache / "hub" / "models--org--name"
    (snapshots / "refs").mkdir(parents=True)
    (snapshots / "refs" / "main").write_text("0" * 40)
    folder = snapshots / "snapshots" / ("0" * 40)
    folder.mkdir(parents=True)
    write_ours(contents(), folder)
    return folder


def test_what_the_cache_has_needs_no_network(cache: Path) -> None:
    (cache / "blip").mkdir(parents=True)
    write_original(contents(), cache / "blip" / "model_base.pth")
    assert find_weights("original:model_base") == cache / "blip" / "model_base.pth"
    folder = fetched_before(cache)
    assert find_weights("hf:org/name") == folder / "model.safetensors"


class Server(http.server.SimpleHTTPRequestHandler):
    """Hands out a file, from where the client asks for, and may hang up in the middle."""

    content = b""
    hang_up_after: int | None = None
    asked: tuple[str, ...] = ()

    def do_GET(self) -> None:
        kind = type(self)
        wanted = self.headers.get("Range", "")
        kind.asked += (wanted,)
        start = int(re.findall(r"\d+", wanted)[0]) if wanted else 0
        if wanted and start >= len(kind.content):
            self.send_error(416)
            return
        rest = kind.content[start:]
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(rest)))
        if wanted:
            total = len(kind.content)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.end_headers()
        self.wfile.write(rest[: kind.hang_up_after])

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[type[Server], str]]:
    """A server on this machine, with nothing to hand out yet."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    handler = type("Handler", (Server,), {})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        threading.Thread(target=served.serve_forever, args=(0.01,), daemon=True).start()
        yield handler, f"http://127.0.0.1:{served.server_address[1]}/"
        served.shutdown()


def test_a_cut_download_goes_on_where_it_stopped(
    server: tuple[type[Server], str], tmp_path: Path
) -> None:
    handler, url = server
    write_original(contents(), tmp_path / "released.pth")
    handler.content = (tmp_path / "released.pth").read_bytes()
    cut = len(handler.content) // 3
    part = tmp_path / "cache" / "blip" / ".incomplete"
    part.parent.mkdir(parents=True)
    part.with_name("model_base.pth.incomplete").write_bytes(handler.content[:cut])
    path = fetch_original("model_base", url)
    assert handler.asked == (f"bytes={cut}-",)
    assert path.read_bytes() == handler.content
    assert isinstance(read_contents(path), Contents)
    assert [f.name for f in path.parent.iterdir() if f.name[0] != "."] == ["model_base.pth"]
    assert fetch_original("model_base.pth", url) == path
    assert len(handler.asked) == 1


def test_a_server_that_fails_is_reported_in_one_line(server: tuple[type[Server], str]) -> None:
    _, url = server
    with pytest.raises(BlipError, match="cannot be downloaded") as caught:
        fetch_original("model_base", url.replace("http://127.0.0.1", "http://127.0.0.1:1"))
    assert "\n" not in str(caught.value)


def test_a_part_that_is_too_long_is_fetched_anew(
    server: tuple[type[Server], str], tmp_path: Path
) -> None:
    handler, url = server
    write_original(contents(), tmp_path / "released.pth")
    handler.content = (tmp_path / "released.pth").read_bytes()
    folder = tmp_path / "cache" / "blip"
    folder.mkdir(parents=True)
    (folder / "model_base.pth.incomplete").write_bytes(handler.content)
    with pytest.raises(BlipError, match="the same command fetches it anew"):
        fetch_original("model_base", url)
    assert fetch_original("model_base", url).read_bytes() == handler.content


def test_a_hub_that_does_not_answer_leaves_the_cache(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("connection refused")

    monkeypatch.setattr(huggingface_hub, "model_info", refuse)
    folder = fetched_before(cache)
    assert fetch_huggingface("org/name") == folder

    def miss(*_: object, **__: object) -> None:
        raise RuntimeError("Got: an error whose cause is the one above")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", miss)
    with pytest.raises(BlipError, match="nor found in the cache: connection refused"):
        fetch_huggingface("org/name")


def test_half_of_a_model_in_the_cache_is_none_without_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("connection refused")

    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr(huggingface_hub, "model_info", refuse)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(tmp_path))
    with pytest.raises(BlipError, match="nor found in the cache: connection refused"):
        fetch_huggingface("org/name")
    (tmp_path / "model.safetensors").touch()
    assert fetch_huggingface("org/name") == tmp_path


@pytest.mark.parametrize(
    ("there", "fetched"),
    [
        (["model.safetensors", "pytorch_model.bin"], ["model.safetensors"]),
        (
            ["model.safetensors.index.json", "model-00001-of-00002.safetensors"],
            ["model.safetensors.index.json", "model-*-of-*.safetensors"],
        ),
        (["pytorch_model.bin"], ["pytorch_model.bin"]),
        (
            ["pytorch_model.bin.index.json", "pytorch_model-00001-of-00002.bin"],
            ["pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin"],
        ),
    ],
)
def test_the_weights_that_the_hub_has_are_fetched_and_no_others(
    there: list[str], fetched: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def fetch(name: str, allow_patterns: list[str]) -> str:
        asked.extend(allow_patterns)
        return str(tmp_path)

    files = [SimpleNamespace(rfilename=file) for file in ("README.md", *there)]
    monkeypatch.setattr(huggingface_hub, "model_info", lambda name: SimpleNamespace(siblings=files))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    assert fetch_huggingface("org/name") == tmp_path
    assert asked == ["config.json", "tokenizer.json", "vocab.txt", *fetched]


def test_the_table_of_releases_is_sound() -> None:
    names = [release.name for release in RELEASES]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"original:\w+|hf:Salesforce/[\w-]+", name) for name in names)
    assert {r.pixels % 16 for r in RELEASES} == {0}
    tasks = {"pretrain", "retrieval", "caption", "vqa", "nlvr", "itm"}
    assert {r.task for r in RELEASES} == tasks


def test_a_model_in_a_file_opens_as_it_was(tmp_path: Path) -> None:
    write_original(contents(), tmp_path / "model.pth")
    again = read_contents(find_weights(tmp_path / "model.pth")).model()
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(again.encode_image(images), tiny_model().encode_image(images))
