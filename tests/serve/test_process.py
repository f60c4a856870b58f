"""The command in a process of its own: signals, a taken port, clients of all kinds."""

import asyncio
import json
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from blip.cli.main import main
from blip.serve.connections import Connection
from blip.serve.hosts import KnownHosts
from blip.serve.run import address_of, bind, make_server
from tests.support.command_service import served
from tests.support.pictures import photo
from tests.support.saved_models import save_tiny
from tests.support.service import as_json, open_models, serving_in_thread


@pytest.fixture(scope="module")
def med(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("med"))


def test_sigterm_finishes_what_is_under_way(med: Path) -> None:
    # The first request waits for others that do not come: SIGTERM finds it in the queue.
    with served(med, "--max-wait", "1500") as (address, process):
        assert httpx.get(f"{address}/readyz").json() == {"status": "ready"}
        for garbage in (b"\x16\x03\x01\x00 no HTTP \r\n\r\n", b"POST /v1/caption HTTP/1.1\r\n"):
            leave_half_way(address, garbage)
        large = httpx.post(f"{address}/v1/caption", files={"image": bytes(100_000_000)})
        assert large.status_code == 413
        form = {"content-type": "multipart/form-data; boundary=x"}
        refused = httpx.post(f"{address}/v1/caption", content=b"no form", headers=form)
        assert refused.status_code == 422
        begin = b"POST /v1/caption HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
        leave_half_way(address, begin + b'Content-Type: application/json\r\n\r\n{"image')
        answers = list[httpx.Response]()

        def ask() -> None:
            answers.append(httpx.post(f"{address}/v1/caption", json=as_json(photo())))

        client = threading.Thread(target=ask)
        client.start()
        while "blip_queue_length 1.0" not in httpx.get(f"{address}/metrics").text:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        client.join(30)
        assert answers[0].status_code == 200
        assert answers[0].json()["captions"][0]["text"]
        assert process.stderr is not None
        said = process.stderr.read().splitlines()
        assert said[4:] == [
            f"serving at {address}; Ctrl-C stops it",
            "blip: stopped; what was being answered has been answered",
        ]


def leave_half_way(address: str, sent: bytes) -> None:
    """Send the begin of a request, and close the connection."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(sent)


def test_ctrl_c_ends_with_130(
    med: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("blip.serve.run.run", interrupted)
    assert main(["serve", str(med), "--port", "0"]) == 130
    said = capsys.readouterr().err.splitlines()
    assert said[0] == f"caption: {med}"
    assert said[-2].startswith("serving at http://127.0.0.1:")
    assert said[-1] == "blip: stopped; what was being answered has been answered"


def test_a_taken_port_and_a_wrong_host_are_said_in_one_line(
    med: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with bind("127.0.0.1", 0) as taken:
        port = address_of(taken).rpartition(":")[2]
        assert main(["serve", str(med), "--port", port]) == 1
        said = capsys.readouterr().err
        assert said.startswith(f"blip: error: cannot listen at 127.0.0.1, port {port} (Address")
        assert said.endswith("choose another one with --port, or 0 for any\n")
    assert main(["serve", str(med), "--host", "no such host"]) == 2
    assert "--host no such host is not an address of this machine" in capsys.readouterr().err


def test_a_checkpoint_that_serves_nothing_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nlvr = save_tiny(tmp_path / "nlvr", "nlvr")
    assert main(["serve", str(nlvr), "--port", "0"]) == 2
    expected = f"blip: error: {nlvr} can do none of what `blip serve` offers\n"
    assert capsys.readouterr().err == expected


def test_without_the_extra_the_command_names_it(
    med: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["serve", str(med)]) == 2
    said = capsys.readouterr().err
    assert "pip install 'blip-capfilt[serve]'" in said
    assert len(said.splitlines()) == 1


def test_a_request_that_does_not_begin_is_given_up(
    med: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blip.serve.connections.SECONDS_FOR_HEADERS", 0.2)
    monkeypatch.setattr("blip.serve.run.IDLE_SECONDS", 1)
    with serving_in_thread(open_models(med)) as address:
        host, port = address.removeprefix("http://").split(":")
        sent = (b"", b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /")
        for begin in sent:
            with socket.create_connection((host, int(port)), timeout=10) as connection:
                connection.sendall(begin)
                answers = connection.makefile("rb").read()
                assert answers.startswith(b"HTTP/1.1 200" if b"\r\n\r\n" in begin else b"")
        # One whose body takes longer than its headers may is not given up.
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            body = json.dumps(as_json(photo())).encode()
            head = "POST /v1/features HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
            connection.sendall(f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode())
            time.sleep(0.5)
            connection.sendall(body)
            assert connection.recv(100).startswith(b"HTTP/1.1 200")


@contextmanager
def large_answers(deadline: float) -> Iterator[tuple[uvicorn.Server, tuple[str, int]]]:
    """A server of 16 MB, more than the system holds for a client that does not read."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await Response(bytes(LARGE))(scope, receive, send)

    server = make_server(answer, deadline)
    server.config.lifespan = "off"
    with bind("127.0.0.1", 0) as bound:
        thread = threading.Thread(target=server.run, args=([bound],))
        thread.start()
        try:
            yield server, bound.getsockname()
        finally:
            server.should_exit = server.force_exit = True
            thread.join(30)


LARGE = 16_000_000
ASKED = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize("requests", [1, 100], ids=["one answer", "pipelined answers"])
def test_a_client_that_does_not_read_is_given_up(requests: int) -> None:
    with (
        large_answers(deadline=0.3) as (server, address),
        socket.create_connection(address, timeout=10) as connection,
    ):
        wait_until(lambda: len(server.server_state.connections) == 1)
        connection.sendall(ASKED * requests)
        wait_until(lambda: not server.server_state.connections)
        assert server.server_state.connections == set()


def test_a_slow_client_within_the_deadline_gets_its_whole_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The connection is closed for new requests long before the client has read.
    monkeypatch.setattr("blip.serve.run.IDLE_SECONDS", 0)
    with (
        large_answers(deadline=60) as (_, address),
        socket.create_connection(address, timeout=10) as connection,
    ):
        connection.sendall(ASKED)
        received, pauses = 0, 5
        while content := connection.recv(1 << 20):
            received += len(content)
            if pauses:
                pauses -= 1
                time.sleep(0.1)
        assert received > LARGE


def test_the_deadline_is_that_of_each_answer() -> None:
    with (
        large_answers(deadline=60) as (server, address),
        socket.create_connection(address, timeout=10) as connection,
    ):
        for _ in range(2):
            connection.sendall(ASKED)
            received = 0
            while received < LARGE:
                received += len(connection.recv(1 << 20))
            # No timer is left of an answer that was taken.
            (held,) = server.server_state.connections
            assert isinstance(held, Connection)
            wait_until(lambda held=held: held._aborting is None)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("[::1]:8000", 200),
        ("[::1]", 200),
        ("LOCALHOST:1", 200),
        ("a.example.org", 200),
        ("example.org", 400),
        ("[::2]", 400),
        ("localhost.evil.org", 400),
        ("", 400),
    ],
)
def test_the_host_of_a_request_is_one_of_the_service(host: str, status: int) -> None:
    app = KnownHosts(answer_200, ("localhost", "::1", "*.example.org"))

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
            return await client.get("http://service/", headers={"host": host})

    answer = asyncio.run(ask())
    assert answer.status_code == status
    if status == 400:
        assert "--hosts names others" in answer.json()["detail"]


async def answer_200(scope: Scope, receive: Receive, send: Send) -> None:
    await Response()(scope, receive, send)


def test_a_host_that_cannot_be_one_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "somewhere", "--hosts", "a*b.org"]) == 2
    said = capsys.readouterr().err
    assert said == "blip: error: --hosts is 'a*b.org'; allowed: a name, *.NAME, or * for all\n"
