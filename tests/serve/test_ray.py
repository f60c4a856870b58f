"""The service on Ray Serve: two replicas, one of which is killed, and the end by SIGTERM."""

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from blip import DecodingConfig
from blip.cli.main import main
from blip.inference.load import load
from blip.serve.metrics import joined
from tests.support.command_service import served
from tests.support.pictures import photo
from tests.support.saved_models import save_tiny
from tests.support.service import as_json

REPLICA = re.compile(r'replica="(\w+)"')
MARK = "BLIP_TEST_OF_REPLICAS"


@pytest.fixture(scope="module")
def med(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("med"))


def test_a_replica_that_is_killed_comes_back_and_requests_are_answered_meanwhile(
    med: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray.serve", reason="blip-capfilt[ray-serve] is not installed")
    monkeypatch.setenv(MARK, str(os.getpid()))
    on_ray = ("--engine", "ray", "--replicas", "2", "--max-wait", "600")
    with served(med, *on_ray) as (address, process):
        model, greedy = load(med, "cpu"), DecodingConfig(kind="greedy", max_length=9)
        expected = [model.caption(photo(seed), greedy) for seed in range(8)]

        def ask(seed: int) -> httpx.Response:
            body = as_json(photo(seed), decode="greedy", max_length=9)
            return httpx.post(f"{address}/v1/caption", json=body, timeout=30)

        def answers(seeds: range) -> list[str]:
            with ThreadPoolExecutor(8) as clients:
                found = [one.raise_for_status().json() for one in clients.map(ask, seeds)]
            return [one["captions"][0]["text"] for one in found]

        assert answers(range(8)) == expected
        assert httpx.head(f"{address}/readyz").status_code == 200
        large = httpx.post(f"{address}/v1/caption", files={"image": bytes(30_000_000)})
        assert (large.status_code, set(large.json())) == (413, {"detail"})
        before = replicas(address)
        assert len(before) == 2

        with ThreadPoolExecutor(8) as clients:
            during = [clients.submit(ask, seed) for seed in range(8)]
            os.kill(replica_processes()[0], signal.SIGKILL)
        # Ray asks again what the dead one had begun, unless its answer had begun to come.
        statuses = [one.result().status_code for one in during]
        assert set(statuses) <= {200, 500}
        assert statuses.count(200) >= 4
        assert answers(range(8)) == expected
        until(lambda: len(replicas(address) - before) == 1)
        assert len(replicas(address) & before) == 1
        assert answers(range(8)) == expected

        last = list[httpx.Response]()
        client = threading.Thread(target=lambda: last.append(ask(3)))
        client.start()
        until(lambda: "} 1.0" in "".join(lines(address, "blip_queue_length")))
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        client.join(30)
        assert last[0].json()["captions"][0]["text"] == expected[3]
        assert marked_processes() == {}
        assert process.stderr is not None
        said = process.stderr.read().splitlines()
        assert said[0].startswith("ray: starting 2 replicas; a replica needs ")
        assert said[-2:] == [
            f"serving at {address}; Ctrl-C stops it",
            "blip: stopped; what was being answered has been answered",
        ]


def until(condition: Callable[[], bool]) -> None:
    """Wait for what must come."""
    patience = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < patience
        time.sleep(0.05)


def lines(address: str, metric: str) -> list[str]:
    """The samples of a metric."""
    text = httpx.get(f"{address}/metrics").raise_for_status().text
    return [line for line in text.splitlines() if line.startswith(metric)]


def replicas(address: str) -> set[str]:
    """The names of the replicas that answer."""
    found = map(REPLICA.search, lines(address, "blip_queue_length"))
    return {match[1] for match in found if match}


def marked_processes() -> dict[int, str]:
    """Processes that the service of this test started, and their titles."""
    mark = f"{MARK}={os.getpid()}".encode()
    found: dict[int, str] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = (folder / "cmdline").read_text()
        # Another's process, or one that has just ended.
        except OSError:
            continue
    return {number: title for number, title in found.items() if number != os.getpid()}


def replica_processes() -> list[int]:
    """Those of them that are replicas."""
    titles = marked_processes().items()
    return [number for number, title in titles if title.startswith("ray::ServeReplica")]


def test_metrics_of_replicas_are_told_apart_by_a_label() -> None:
    text = b'# HELP a_total Some.\n# TYPE a_total counter\na_total{b="1"} 2.0\n'
    both = joined([("x", text), ("y", text)]).decode().splitlines()
    assert both == [
        "# HELP a_total Some.",
        "# TYPE a_total counter",
        'a_total{b="1",replica="x"} 2.0',
        'a_total{b="1",replica="y"} 2.0',
    ]


@pytest.mark.parametrize(
    ("option", "value"),
    [("--replicas", "2"), ("--gpus-per-replica", "0.5"), ("--ray-address", "auto")],
)
def test_options_of_ray_are_refused_without_it(
    option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "somewhere", option, value]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"blip: error: {option} is {value}; allowed: none, with engine local")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("option", ["--filter", None])
def test_a_checkpoint_that_is_not_there_is_named_before_ray_starts(
    option: str | None,
    med: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("ray.serve", reason="blip-capfilt[ray-serve] is not installed")
    monkeypatch.setattr("ray.init", lambda *_, **__: pytest.fail("Ray was started"))
    names = ["nowhere"] if option is None else [str(med), option, "nowhere"]
    assert main(["serve", *names, "--engine", "ray", "--port", "0"]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said == "blip: error: no checkpoint at nowhere: no such folder or file"


def test_without_ray_serve_the_extra_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray.serve", None)
    assert main(["serve", "somewhere", "--engine", "ray"]) == 2
    said = capsys.readouterr().err
    assert "pip install 'blip-capfilt[ray-serve]'" in said
    assert len(said.splitlines()) == 1
