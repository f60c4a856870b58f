"""A stage: work whose result is kept, and that is not done again from the same inputs."""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blip.files import fingerprint_json, write_json
from blip.log import say

MARKER = "done.json"


@dataclass(frozen=True, slots=True)
class Stage:
    """A named piece of work that leaves its result in `folder`.

    `inputs` are JSON values that decide the result: a configuration, fingerprints of what is read.
    """

    name: str
    folder: Path
    inputs: Any
    work: Callable[[], object]

    @property
    def fingerprint(self) -> str:
        """Of the inputs; whoever reads the result can take it as one of its own inputs."""
        return fingerprint_json(self.inputs)

    def is_done(self) -> bool:
        """Whether the result is there and was made from these inputs."""
        return self._marker().get("inputs") == self.fingerprint

    def run(self) -> None:
        """Do the work unless it is done; the marker is written last, so that half is not whole."""
        marker = self._marker()
        if marker.get("inputs") == self.fingerprint:
            say(f"{self.name}: done already")
            return
        if marker:
            say(f"{self.name}: its inputs changed since {self.folder} was made; doing it again")
        before = self._begin()
        started = time.monotonic()
        try:
            self.work()
        finally:
            seconds = round(before + time.monotonic() - started, 2)
            write_json(self._begun, {"inputs": self.fingerprint, "seconds": seconds})
        write_json(self.folder / MARKER, {"inputs": self.fingerprint, "seconds": seconds})
        self._begun.unlink()

    @property
    def seconds(self) -> float:
        """How long the work took, over all attempts that were stopped in an orderly way."""
        return float(self._marker().get("seconds", 0.0))

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


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _clear(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
