"""A folder that holds remote shards for the processes of a machine, within a bound."""

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, final

from blip.data.readers.remote import Facts, fetch, is_remote
from blip.files import put_in_place, to_utf8
from blip.locks import LockedError, hold_lock, wait_for_lock
from blip.places import home_path

PART = ".part"
LOCK = ".lock"
DIGITS = 20
COPIES = "[0-9a-f]" * DIGITS + ".tar"
"""Names of copies; other .tar files in the folder are not ours, and are kept."""
TRIES = 5
"""How often a shard that others removed before it could be opened is fetched again."""
UNKNOWN = Facts(0, "")
"""Of a shard that nobody has looked at."""


def cache_folder(given: str) -> Path:
    """The folder that a configuration names, else BLIP_CACHE, else ~/.cache/blip."""
    return home_path(given or os.environ.get("BLIP_CACHE") or "~/.cache/blip")


@final
class ShardCache:
    """Opens shards, local ones where they lie, remote ones from copies in a folder.

    Several processes may share the folder: a shard is fetched by one of them. When the copies take
    more than `bound` bytes, those not used for longest go. A file that is open stays readable, so
    that a bound that is too small makes the work slow and not wrong.
    """

    def __init__(self, folder: Path, bound: int) -> None:
        self.folder, self.bound = folder / "shards", bound
        self.of_other_size: set[Path] = set()
        """Copies that came with another size than was known: their shards have changed since."""

    def open(self, location: str, facts: Facts = UNKNOWN) -> BinaryIO:
        """Open a shard; a remote one that has changed, by its tag or size, is fetched anew.

        Raises BlipError if it cannot be fetched, OSError if a local one cannot be opened.
        """
        if not is_remote(location):
            return Path(location).open("rb")
        for _ in range(TRIES - 1):
            try:
                return self.bring(location, facts).open("rb")
            except FileNotFoundError:
                continue
        return self.bring(location, facts).open("rb")

    def bring(self, location: str, facts: Facts = UNKNOWN) -> Path:
        """Fetch a remote shard unless the folder has all of it; returns its path.

        Raises BlipError if it cannot be fetched, OSError if the folder takes no file.
        """
        path = self._path(location, facts.tag)
        if not self._holds(path, facts.size):
            with wait_for_lock(path.with_name(path.name + LOCK)):
                if not self._holds(path, facts.size):
                    part = path.with_name(path.name + PART)
                    fetch(location, part)
                    put_in_place(part, path)
                    if facts.size not in (0, path.stat().st_size):
                        self.of_other_size.add(path)
            self._shrink(keep=path)
        return path

    def _holds(self, path: Path, size: int) -> bool:
        """Note that a copy is in use; False where it is missing or of another size than known."""
        try:
            os.utime(path)
            held = path.stat().st_size
        except FileNotFoundError:
            return False
        # To fetch again what has changed would give the same each time.
        return size in (0, held) or path in self.of_other_size

    def _path(self, location: str, tag: str) -> Path:
        digest = hashlib.sha256(to_utf8(f"{location}\n{tag}")).hexdigest()[:DIGITS]
        return self.folder / f"{digest}.tar"

    def _shrink(self, keep: Path) -> None:
        """Remove the copies not used for longest until the rest is within the bound."""
        with wait_for_lock(self.folder / "shrink"):
            copies = []
            for path in self.folder.glob(COPIES):
                status = path.stat()
                copies.append((status.st_mtime_ns, status.st_size, path))
            taken = sum(size for _, size, _ in copies)
            for _, size, path in sorted(copies):
                if taken <= self.bound:
                    break
                if path != keep:
                    path.unlink()
                    taken -= size
            for part in self.folder.glob(f"{COPIES}{PART}"):
                _remove_if_left(part)


def _remove_if_left(part: Path) -> None:
    """Remove what a killed process has left of a shard; one that is being fetched is locked."""
    lock = part.with_name(part.name.removesuffix(PART) + LOCK)
    with suppress(LockedError), hold_lock(lock):
        part.unlink(missing_ok=True)
