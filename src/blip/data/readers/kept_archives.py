"""The archives of a process that reads shards at random: those used last stay parsed, and open."""

from collections import OrderedDict
from typing import BinaryIO, final

from blip.data.readers.archive import Archive
from blip.processes import most_open_files

SHARE_OF_FILES = 0.5
"""Of the files that a process may have open; the rest is for all else that it does."""


@final
class KeptArchives:
    """Archives by the numbers of their shards, in the order of their last use.

    Their tables are small and take long to parse; opening a file takes little, but the system
    limits how many are open. So more archives are kept than have their files open.
    """

    def __init__(self, room: int) -> None:
        """`room` is the number of archives."""
        limit = most_open_files()
        self.room = room
        self.files = room if limit is None else min(room, max(int(limit * SHARE_OF_FILES), 1))
        self._archives: OrderedDict[int, Archive] = OrderedDict()
        self._open: OrderedDict[int, Archive] = OrderedDict()

    def is_open(self, number: int) -> bool:
        """Whether a shard's file is open; does not count as a use."""
        return number in self._open

    def find(self, number: int) -> Archive | None:
        """The archive of a shard; None where its file must be opened, and given to `add`."""
        archive = self._open.get(number)
        if archive is not None:
            self._note_use(number, archive)
        return archive

    def add(self, number: int, name: str, file: BinaryIO) -> Archive:
        """The archive of a shard in a file that was just opened; closes those not used for longest.

        Raises OSError if the file cannot be read.
        """
        archive = self._archives.get(number)
        if archive is None or not archive.reopen(file):
            archive = Archive(name, file)
        self._note_use(number, archive)
        while len(self._open) > self.files:
            self._open.popitem(last=False)[1].close()
        while len(self._archives) > self.room:
            self._archives.popitem(last=False)
        return archive

    def _note_use(self, number: int, archive: Archive) -> None:
        for kept in (self._archives, self._open):
            kept[number] = archive
            kept.move_to_end(number)
