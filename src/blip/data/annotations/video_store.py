"""Keeps the encoded videos of tables and tars: some in memory, more in a temporary file."""

import os
import tempfile
from dataclasses import dataclass
from typing import final

from blip.errors import BlipError

MEMORY = 256 << 20
"""Bytes of videos that stay in memory; with more, all lie in a temporary file."""


@final
class VideoStore:
    """A file of videos without a name, which goes with the last video that refers to it."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=MEMORY)  # noqa: SIM115

    def add(self, content: bytes) -> "StoredVideo":
        """Keep a video; raises BlipError where the disk has no room for it."""
        start = self._file.seek(0, os.SEEK_END)
        try:
            self._file.write(content)
            self._file.flush()
        except OSError as error:
            raise BlipError(
                f"the videos do not fit into {tempfile.gettempdir()}: {error.strerror}; set TMPDIR "
                "to a folder with more room"
            ) from error
        return StoredVideo(self, start, len(content))

    def read(self, start: int, size: int) -> bytes:
        """The bytes of a video."""
        self._file.seek(start)
        return self._file.read(size)


@final
@dataclass(frozen=True, slots=True)
class StoredVideo:
    """Where a video lies in its store."""

    store: VideoStore
    start: int
    size: int

    def read(self) -> bytes:
        """Its bytes."""
        return self.store.read(self.start, self.size)
