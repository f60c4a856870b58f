"""A stage: work that keeps its result and is skipped while its inputs stay the same."""

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
"""Patterns of model files, which later stages read: they must not change afterwards."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A named piece of work that writes its result into `folder`.

    `inputs` are JSON values that decide the result: a configuration, fingerprints of inputs. `kind`
    names the files that the stage may remove; all others stay. `title` is printed when the work
    begins. With other inputs than before, `overwrite` replaces the result and `allow_change`
    resumes an unfinished training; without either they are refused.
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
        """Fingerprint of the inputs; stages that read the result use it as one of their inputs."""
        return fingerprint_json(self.inputs)

    def is_done(self) -> bool:
        """Whether the result exists and was made from these inputs."""
        marker = self._marker()
        whole = not self._removed(marker) and not self._replaced(marker)
        return marker.get("inputs") == self.fingerprint and whole

    def run(self) -> None:
        """Do the work unless it is done; the marker is written last, with the result complete."""
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
        """Seconds that the work took, over all attempts that were not killed."""
        return float(self._marker().get("seconds", 0.0))

    def check(self) -> None:
        """Raise UsageError where the work would replace a result of other inputs.

        Likewise where somebody edited its result: later stages would read another model.
        """
        finished, begun = self._marker(), _read(self._begun)
        if not self.overwrite and (replaced := self._replaced(finished)):
            raise UsageError(
                f"{self.folder / replaced[0]} was replaced or edited after {self.name} wrote it; "
                "put it back, or use --overwrite to make it again"
            )
        if self.overwrite or self.fingerprint in (begun.get("inputs"), finished.get("inputs")):
            return
        if finished:
            raise UsageError(
                f"{self.folder} holds a result of other data, settings or an earlier version; "
                "--overwrite makes it again, another --out keeps it"
            )
        if begun and not (self.allow_change and self.kind.can_change):
            change = "--allow-change resumes with the new ones, " if self.kind.can_change else ""
            raise UsageError(
                f"{self.folder} was started with other data or settings; {change}--overwrite "
                "starts from the beginning, another --out keeps it"
            )

    def _removed(self, marker: dict[str, Any]) -> list[str]:
        """Files and folders of the result that were removed since."""
        return [name for name in marker.get("holds", []) if not (self.folder / name).exists()]

    def _model_files(self) -> dict[str, str]:
        """Fingerprints by name of the model and tokenizer files, which later stages read."""
        files = [path for pattern in MODEL_FILES for path in sorted(self.folder.glob(pattern))]
        return {
            path.relative_to(self.folder).as_posix(): _fingerprint(path)
            for path in files
            if path.is_file()
        }

    def _replaced(self, marker: dict[str, Any]) -> list[str]:
        """Model files that changed since the work wrote them; empty where all were removed."""
        left, found = marker.get("model"), self._model_files()
        if not isinstance(left, dict):
            # An earlier version wrote this marker.
            return []
        existing = (name for name in left if (self.folder / Path(name).parts[0]).exists())
        return sorted(name for name in existing if found.get(name) != left[name])

    def _explain(self) -> None:
        """Print why an existing result is made again."""
        marker = self._marker()
        if marker.get("inputs") == self.fingerprint and (removed := self._removed(marker)):
            say(f"{self.name}: {', '.join(removed)} is missing; making it again")
        elif replaced := self._replaced(marker):
            say(f"{self.name}: {', '.join(replaced)} was replaced or edited; making it again")
        elif marker:
            say(f"{self.name}: its inputs changed since {self.folder} was made; making it again")

    @property
    def _begun(self) -> Path:
        return self.folder / BEGUN

    def _begin(self) -> float:
        """Keep the files of an earlier attempt that can be resumed; else remove them."""
        begun = _read(self._begun)
        seconds = float(begun.get("seconds", 0.0))
        resumes = begun.get("inputs") == self.fingerprint or (
            bool(begun) and self.allow_change and self.kind.can_change and not self._marker()
        )
        # A folder with a stage's marker is ours; any other must not hold files of these names.
        ours = bool(begun) or (self.folder / MARKER).exists()
        claim(self.folder, self.kind, is_ours=lambda: ours)
        if not resumes:
            remove_known(self.folder, (*self.kind.files, MARKER, self._begun.name))
            seconds = 0.0
        write_json(self._begun, {"inputs": self.fingerprint, "seconds": seconds})
        return seconds

    def _marker(self) -> dict[str, Any]:
        return _read(self.folder / MARKER)


@contextmanager
def exclusive_lock(out: Path) -> Iterator[None]:
    """Lock a folder while a run writes to it; the lock ends with the process.

    Raises UsageError if another run holds the lock.
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
    """Fingerprint of a file's content, read again only if its size or time changes."""
    status = path.stat()
    return _fingerprint_once(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def _fingerprint_once(path: Path, size: int, modified_ns: int) -> str:
    return fingerprint_file(path)


def _read(path: Path) -> dict[str, Any]:
    return read_json_object(path) or {}
