"""A stage: work whose result is kept, and that is not done again from the same inputs."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path
from typing import Any

from blip.errors import UsageError
from blip.files import fingerprint_file, fingerprint_json, read_json_object, write_json
from blip.locks import LockedError, hold_lock
from blip.log import say
from blip.outputs import LEFTOVERS, Kind, claim, remove_known

MARKER, BEGUN = "done.json", ".begun.json"
MODEL_FILES = ("checkpoint/*", "tokenizer.json", "vocabulary.json")
"""Patterns of the files of a stage by which later stages would become those of another model."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A named piece of work that leaves its result in `folder`.

    `inputs` are JSON values that decide the result: a configuration, fingerprints of what is read.
    `kind` names the files that it may remove; all else in the folder stays. `title` is
    printed when the work begins. `overwrite` replaces a result of other inputs, and `allow_change`
    lets a training that is not finished go on with them; else such inputs are refused.
    """

    name: str
    folder: Path
    inputs: Any
    work: Callable[[], object]
    kind: Kind
    title: str = ""
    overwrite: bool = False
    allow_change: bool = False

    @property
    def fingerprint(self) -> str:
        """Of the inputs; whoever reads the result can take it as one of its own inputs."""
        return fingerprint_json(self.inputs)

    def is_done(self) -> bool:
        """Whether the result is there and was made from these inputs."""
        marker = self._marker()
        whole = not self._lost(marker) and not self._replaced(marker)
        return marker.get("inputs") == self.fingerprint and whole

    def run(self) -> None:
        """Do the work unless it is done; the marker comes last, so that half a result has none."""
        title = self.title or self.name
        if self.is_done():
            say(f"{title}: done already")
            return
        self.check()
        say(title)
        self._explain()
        before = self._begin()
        started = time.monotonic()
        try:
            self.work()
        finally:
            seconds = round(before + time.monotonic() - started, 2)
            write_json(self._begun, {"inputs": self.fingerprint, "seconds": seconds})
        tops = self.kind.tops
        names = sorted(path.name for path in self.folder.iterdir())
        holds = [name for name in names if any(fnmatch(name, top) for top in tops)]
        done = {
            "inputs": self.fingerprint,
            "seconds": seconds,
            "holds": holds,
            "model": self._model_files(),
        }
        write_json(self.folder / MARKER, done)
        self._begun.unlink()

    @property
    def seconds(self) -> float:
        """How long the work took, over all attempts that were stopped in an orderly way."""
        return float(self._marker().get("seconds", 0.0))

    def check(self) -> None:
        """Raise UsageError where the work would replace what was made from other inputs.

        Likewise where somebody has changed its result: later stages would read another model.
        """
        finished, begun = self._marker(), _read(self._begun)
        if not self.overwrite and (replaced := self._replaced(finished)):
            raise UsageError(
                f"{self.folder / replaced[0]} was replaced or edited since {self.name} left it; "
                "put it back, or --overwrite makes it again"
            )
        if self.overwrite or self.fingerprint in (begun.get("inputs"), finished.get("inputs")):
            return
        if finished:
            raise UsageError(
                f"{self.folder} holds a result of other data, settings or an earlier version; "
                "--overwrite makes it again, another --out keeps it"
            )
        if begun and not (self.allow_change and self.kind.can_change):
            change = "--allow-change goes on with the new ones, " if self.kind.can_change else ""
            raise UsageError(
                f"{self.folder} was begun with other data or settings; {change}--overwrite begins "
                "anew, another --out keeps it"
            )

    def _lost(self, marker: dict[str, Any]) -> list[str]:
        """Parts of the result that were removed since."""
        return [name for name in marker.get("holds", []) if not (self.folder / name).exists()]

    def _model_files(self) -> dict[str, str]:
        """Fingerprints of the files of a model or tokenizer, which later stages read, by name."""
        files = [path for pattern in MODEL_FILES for path in sorted(self.folder.glob(pattern))]
        return {
            path.relative_to(self.folder).as_posix(): _fingerprint(path)
            for path in files
            if path.is_file()
        }

    def _replaced(self, marker: dict[str, Any]) -> list[str]:
        """Files of the model that changed since the work wrote them; none where all are gone."""
        left, found = marker.get("model"), self._model_files()
        if not isinstance(left, dict):
            # Of a stage that an earlier version did.
            return []
        there = (name for name in left if (self.folder / Path(name).parts[0]).exists())
        return sorted(name for name in there if found.get(name) != left[name])

    def _explain(self) -> None:
        """Say why a result that was there is made again."""
        marker = self._marker()
        if marker.get("inputs") == self.fingerprint and (lost := self._lost(marker)):
            say(f"{self.name}: {', '.join(lost)} is gone; making it again")
        elif replaced := self._replaced(marker):
            say(f"{self.name}: {', '.join(replaced)} was replaced or edited; making it again")
        elif marker:
            say(f"{self.name}: its inputs changed since {self.folder} was made; making it again")

    @property
    def _begun(self) -> Path:
        return self.folder / BEGUN

    def _begin(self) -> float:
        """Keep what an earlier attempt left, if it can resume there; remove what others left."""
        begun = _read(self._begun)
        seconds = float(begun.get("seconds", 0.0))
        goes_on = begun.get("inputs") == self.fingerprint or (
            bool(begun) and self.allow_change and self.kind.can_change and not self._marker()
        )
        # A folder with a marker of a stage is ours; in any other, nothing of that name may lie.
        ours = bool(begun) or (self.folder / MARKER).exists()
        claim(self.folder, self.kind, is_ours=lambda: ours)
        if not goes_on:
            remove_known(self.folder, (*self.kind.files, MARKER, self._begun.name))
            seconds = 0.0
        write_json(self._begun, {"inputs": self.fingerprint, "seconds": seconds})
        return seconds

    def _marker(self) -> dict[str, Any]:
        return _read(self.folder / MARKER)


@contextmanager
def exclusive_lock(out: Path) -> Iterator[None]:
    """Hold a folder while a run writes to it; ends with the process, however that ends.

    Raises UsageError where another run holds it.
    """
    with ExitStack() as held:
        try:
            held.enter_context(hold_lock(out / ".lock"))
        except LockedError as error:
            raise UsageError(
                f"another run is writing to {out}; wait for it, or choose another folder"
            ) from error
        remove_known(out, LEFTOVERS)
        yield


def _fingerprint(path: Path) -> str:
    """Of a file's content; read once in a process as long as its size and time stay."""
    status = path.stat()
    return _fingerprint_once(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def _fingerprint_once(path: Path, size: int, modified_ns: int) -> str:
    return fingerprint_file(path)


def _read(path: Path) -> dict[str, Any]:
    return read_json_object(path) or {}
