"""Keeps encoded pictures or videos of tables and tars: some in memory, more in a temporary file."""

import os
import tempfile
from dataclasses import dataclass
from typing import final

from blip.errors import BlipError

MEMORY = 256 << 20
"""Bytes that stay in memory; with more, all lie in a temporary file."""


@final
class ContentStore:
    """A file without a name, which goes with the last content that refers to it."""

    def __init__(self, noun: str, memory: int | None = None) -> None:
        """`noun` is what the contents are, in the plural; `memory` takes the place of `MEMORY`."""
        self.noun = noun
        size = MEMORY if memory is None else memory
        self._file = tempfile.SpooledTemporaryFile(max_size=size)  # noqa: SIM115

    def add(self, content: bytes) -> "StoredContent":
        """Keep a picture or a video; raises BlipError if the disk has no room for it."""
        start = self._file.seek(0, os.SEEK_END)
        try:
            self._file.write(content)
            self._file.flush()
        except OSError as error:
            raise BlipError(
                f"the {self.noun} do not fit into {tempfile.gettempdir()}: {error.strerror}; set "
                "TMPDIR to a folder with more room"
            ) from error
        return StoredContent(self, start, len(content))

    def read(self, start: int, size: int) -> bytes:
        """The bytes of a picture or a video."""
        self._file.seek(start)
        return self._file.read(size)


@final
@dataclass(frozen=True, slots=True)
class StoredContent:
    """Where a picture or a video lies in its store."""

    store: ContentStore
    start: int
    size: int

    def read(self) -> bytes:
        """Its bytes."""
        return self.store.read(self.start, self.size)
