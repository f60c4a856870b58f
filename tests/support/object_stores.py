"""Servers of object stores, a wire to them that breaks, and shards to put there."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import pytest

from blip.data.readers import remote
from blip.data.readers.counts import index_shards, locate
from blip.data.sample import Sample
from blip.data.tokenizer import Tokenizer
from blip.data.writers.shards import write_shards
from tests.support.pictures import photo
from tests.support.streams import COUNT

INSTALL = "pip install s3fs gcsfs 'moto[s3]' flask flask-cors gcp-storage-emulator"


def _is_there(package: str) -> bool:
    with suppress(ModuleNotFoundError):
        return find_spec(package) is not None
    return False


def need_packages(packages: Sequence[str]) -> None:
    """Skip the file of tests that calls this where one of the packages is not installed."""
    if missing := [package for package in packages if not _is_there(package)]:
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


def write_web(folder: Path) -> Path:
    """Four shards of a few pictures."""
    write_shards([Sample(f"k{i}", photo(i), (f"text {i}",)) for i in range(COUNT)], folder, 6)
    return folder


def small_tokenizer() -> Tokenizer:
    """The tokens of the texts of `write_web`."""
    return Tokenizer.train([f"text {i}" for i in range(COUNT)] * 3, vocabulary_size=100)


def forget_stores(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """Libraries keep what they know of a store, its address and keys too."""
    from fsspec.asyn import AsyncFileSystem

    monkeypatch.setattr(remote, "FIRST_PAUSE", 0.001)
    monkeypatch.setenv("BLIP_CACHE", str(cache))
    for kind in AsyncFileSystem.__subclasses__():
        kind.clear_instance_cache()


def counts(pattern: str, cache: Path) -> list[tuple[str, int, str, int]]:
    found = index_shards(locate([pattern]), cache)
    return [(s.location, s.facts.size, s.facts.tag, s.samples) for s in found]
