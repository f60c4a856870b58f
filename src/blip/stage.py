"""A stage: work whose result is kept, and that is not done again from the same inputs."""

import fcntl
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blip.config.strict import parse_json
from blip.errors import UsageError
from blip.files import fingerprint_json, write_json
from blip.log import say

MARKER = "done.json"


@dataclass(frozen=True, slots=True)
class Stage:
    """A named piece of work that leaves its result in `folder`.

    `inputs` are JSON values that decide the result: a configuration, fingerprints of what is read.
    `title` is told to people when the work begins.
    """

    name: str
    folder: Path
    inputs: Any
    work: Callable[[], object]
    title: str = ""

    @property
    def fingerprint(self) -> str:
        """Of the inputs; whoever reads the result can take it as one of its own inputs."""
        return fingerprint_json(self.inputs)

    def is_done(self) -> bool:
        """Whether the result is there and was made from these inputs."""
        marker = self._marker()
        return marker.get("inputs") == self.fingerprint and not self._lost(marker)

    def run(self) -> None:
        """Do the work unless it is done; the marker is written last, so that half is not whole."""
        title = self.title or self.name
        if self.is_done():
            say(f"{title}: done already")
            return
        say(title)
        self._explain()
        before = self._begin()
        started = time.monotonic()
        try:
            self.work()
        finally:
            seconds = round(before + time.monotonic() - started, 2)
            write_json(self._begun, {"inputs": self.fingerprint, "seconds": seconds})
        holds = sorted(path.name for path in self.folder.iterdir() if path.name[0] != ".")
        done = {"inputs": self.fingerprint, "seconds": seconds, "holds": holds}
        write_json(self.folder / MARKER, done)
        self._begun.unlink()

    @property
    def seconds(self) -> float:
        """How long the work took, over all attempts that were stopped in an orderly way."""
        return float(self._marker().get("seconds", 0.0))

    def _lost(self, marker: dict[str, Any]) -> list[str]:
        """Parts of the result that somebody took away."""
        return [name for name in marker.get("holds", []) if not (self.folder / name).exists()]

    def _explain(self) -> None:
        """Say why a result that was there is made again."""
        marker = self._marker()
        if marker.get("inputs") == self.fingerprint:
            say(f"{self.name}: {', '.join(self._lost(marker))} is gone; making it again")
        elif marker:
            say(f"{self.name}: its inputs changed since {self.folder} was made; making it again")

    @property
    def _begun(self) -> Path:
        return self.folder / ".begun.json"

    def _begin(self) -> float:
        """Keep what an attempt with the same inputs left; clear away what others left."""
        begun = _read(self._begun)
        if begun.get("inputs") == self.fingerprint:
            return float(begun.get("seconds", 0.0))
        _clear(self.folder)
        write_json(self._begun, {"inputs": self.fingerprint, "seconds": 0.0})
        return 0.0

    def _marker(self) -> dict[str, Any]:
        return _read(self.folder / MARKER)


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Hold a folder while a run writes to it; ends with the process, however that ends.

    Raises UsageError where another run holds it.
    """
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"another run is writing to {out}; wait for it, or choose another --out"
            ) from error
        except OSError as error:
            say(f"{out} cannot be locked ({error.strerror}): start no second run there")
        yield


def _read(path: Path) -> dict[str, Any]:
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _clear(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
