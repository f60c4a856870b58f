"""Compressed pictures that are read again and again, in little memory."""

import os
import tempfile

MEMORY = 1 << 29
"""Bytes that stay in memory: COCO's 5000 test pictures take about 800 million."""


class KeptPictures:
    """A list of compressed pictures: the first ones in memory, the others in a temporary file.

    The file has no name, and goes with the process.
    """

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._bytes = 0
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the list)
        self._ends = [0]

    def append(self, content: bytes) -> None:
        """Keep another picture."""
        if len(self._ends) == 1 and self._bytes + len(content) <= MEMORY:
            self._held.append(content)
            self._bytes += len(content)
            return
        self._file.write(content)
        self._ends.append(self._ends[-1] + len(content))

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self._held) + len(self._ends) - 1

    def __getitem__(self, place: int) -> bytes:
        """The picture at a place; raises IndexError if there is none."""
        if not 0 <= place < len(self):
            raise IndexError(f"{len(self)} pictures, none at {place}")
        if place < len(self._held):
            return self._held[place]
        number = place - len(self._held)
        start, end = self._ends[number], self._ends[number + 1]
        self._file.flush()
        return os.pread(self._file.fileno(), end - start, start)
