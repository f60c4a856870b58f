"""Bad requests of every kind, many at once: 4xx, and the memory of the service stays bounded."""

import itertools
import json
import re
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from PIL import Image

from blip.processes import most_memory
from tests.support.command_service import served
from tests.support.pictures import bomb, encode, photo, pixels, text_bomb
from tests.support.saved_models import save_tiny
from tests.support.service import as_json

if not Path("/proc/self/status").exists():
    pytest.skip("reads memory of a process in /proc", allow_module_level=True)

BODY, ALL_BODIES = 20, 60
"""What the service allows, in 10^6 bytes."""
MOST_GROWTH = ALL_BODIES + 90
"""Megabytes that the peak may grow: bodies, copies of those being read, and what is not given back.
Without limits, twelve bodies of 100 MB from eight clients let it grow by 1100."""
CLOSED = 0
BROKEN = "`image` cannot be used: "
CLOSE = b"Connection: close\r\n"
JSON = b"POST /v1/caption HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
FORM = JSON.replace(b"application/json", b"multipart/form-data; boundary=x")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Watched"]:
    med = save_tiny(tmp_path_factory.mktemp("med"))
    limits = ("--max-body", str(BODY), "--max-bodies", str(ALL_BODIES), "--deadline", "2")
    with served(med, *limits) as (address, process):
        watched = Watched(address, process)
        # What is imported and allocated for the first request of each kind is no growth.
        assert watched.answers_soundly()
        watched.send_all([as_form(photo()[:200]), as_form(bomb())])
        yield watched
        assert process.poll() is None


class Watched:
    """A service, and the memory of its process."""

    def __init__(self, address: str, process: subprocess.Popen[str]) -> None:
        self.address, self.process = address, process
        host, port = address.removeprefix("http://").split(":")
        self.place = host, int(port)

    def peak(self) -> float:
        """The most memory that it has had, in 10^6 bytes."""
        peak = most_memory(self.process.pid)
        assert peak is not None
        return peak / 1e6

    def send(self, parts: Iterable[bytes], why: str = "") -> int:
        """The status for a request that is sent in parts, and refused with a line about `why`.

        CLOSED where the service no longer waits for the rest of what it refuses.
        """
        with socket.create_connection(self.place, timeout=60) as connection:
            try:
                for part in parts:
                    connection.sendall(part)
                answer = connection.makefile("rb")
                status, rest = answer.readline(), answer.read()
            except (ConnectionResetError, BrokenPipeError):
                return CLOSED
            (detail,) = json.loads(rest.partition(b"\r\n\r\n")[2]).values()
            assert why in detail
            return int(status.split()[1])

    def send_all(
        self, requests: Iterable[Iterable[bytes]], clients: int = 8, why: str = ""
    ) -> Counter[int]:
        """The statuses for requests of several clients at a time."""
        with ThreadPoolExecutor(clients) as together:
            return Counter(together.map(self.send, requests, itertools.repeat(why)))

    def answers_soundly(self) -> bool:
        """Whether it still does its work."""
        answer = httpx.post(f"{self.address}/v1/caption", json=as_json(photo()), timeout=30)
        return answer.status_code == 200


def as_form(picture: bytes) -> list[bytes]:
    """A request with a picture, as bytes."""
    head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    body = head + picture + b"\r\n--x--\r\n"
    return [FORM + CLOSE, f"Content-Length: {len(body)}\r\n\r\n".encode(), body]


def large_body(megabytes: int, *, chunked: bool) -> Iterator[bytes]:
    """A request that is larger than may be, and says so before or does not."""
    piece = bytes(10**6)
    if chunked:
        yield JSON + CLOSE + b"Transfer-Encoding: chunked\r\n\r\n"
    else:
        yield JSON + CLOSE + f"Content-Length: {megabytes * 10**6}\r\n\r\n".encode()
    for _ in range(megabytes):
        yield b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece
    if chunked:
        yield b"0\r\n\r\n"


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "chunked"])
def test_bodies_of_100_megabytes(service: Watched, chunked: bool) -> None:
    before = service.peak()
    assert service.send(large_body(100, chunked=chunked)) == 413
    found = service.send_all(large_body(100, chunked=chunked) for _ in range(12))
    # 429 where others had sent as much as all may together.
    assert set(found) <= {413, 429, CLOSED}
    assert service.peak() - before < MOST_GROWTH
    assert service.answers_soundly()


@pytest.mark.parametrize("picture", [bomb(), text_bomb()], ids=["pixels", "text"])
def test_decompression_bombs(service: Watched, picture: bytes) -> None:
    before = service.peak()
    assert service.send_all([as_form(picture)] * 16, why=BROKEN) == {422: 16}
    assert service.peak() - before < MOST_GROWTH
    assert service.answers_soundly()


def test_truncated_uploads(service: Watched) -> None:
    before = service.peak()
    large = encode(Image.fromarray(pixels(900, 900)))
    requests = [as_form(large[: len(large) // part]) for part in (2, 3, 5, 300)] * 6
    assert service.send_all(requests, why=BROKEN) == {422: 24}
    assert service.peak() - before < MOST_GROWTH
    assert service.answers_soundly()


def test_clients_that_leave_while_they_send(service: Watched) -> None:
    before, left = service.peak(), clients_left(service)

    def leave(_: int) -> None:
        with socket.create_connection(service.place, timeout=60) as connection:
            connection.sendall(JSON + b"Content-Length: 15000000\r\n\r\n" + bytes(5_000_000))

    with ThreadPoolExecutor(8) as together:
        list(together.map(leave, range(24)))
    patience = time.monotonic() + 30
    while clients_left(service) < left + 24:
        assert time.monotonic() < patience
        time.sleep(0.02)
    assert service.peak() - before < MOST_GROWTH
    assert service.answers_soundly()


def clients_left(service: Watched) -> int:
    """How many have left, and how many were refused before."""
    text = httpx.get(f"{service.address}/metrics").text
    counts = re.findall(r"^blip_clients_left_total (.*)$", text, re.MULTILINE)
    refused = re.findall(r'^blip_requests_total{.*status="429"} (.*)$', text, re.MULTILINE)
    return int(sum(map(float, counts + refused)))


def test_clients_that_send_half_and_wait(service: Watched) -> None:
    before = service.peak()
    slow = [[JSON + CLOSE + b"Content-Length: 800000\r\n\r\n", bytes(400_000)]] * 100
    # All at once, so that 40 of 60 MB are held until the deadline.
    assert service.send_all(slow, clients=100) == {408: 100}
    assert service.peak() - before < MOST_GROWTH
    assert service.answers_soundly()


def test_headers_without_end(service: Watched) -> None:
    before = service.peak()

    def send(_: int) -> bytes:
        with socket.create_connection(service.place, timeout=60) as connection:
            try:
                for _ in range(20):
                    connection.sendall(b"GET / HTTP/1.1\r\nHost: " + b"a" * 10**6)
                return connection.recv(100)
            # It was closed while this was still sending.
            except OSError:
                return b""

    with ThreadPoolExecutor(8) as together:
        answers = set(together.map(send, range(16)))
    assert all(answer in (b"",) or b" 400 " in answer for answer in answers)
    assert service.peak() - before < MOST_GROWTH
    assert service.answers_soundly()
