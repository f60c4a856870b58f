"""Random access to the samples of a shard, by a table of where their members lie."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import BinaryIO, NamedTuple, final

import numpy as np

from blip.data.faults import Fault
from blip.data.readers.headers import FOLDER, PLAIN, Damage, Member, Reader, read_headers
from blip.data.readers.image_files import IMAGE_EXTENSIONS
from blip.data.readers.parts import Parts, make_sample
from blip.data.readers.video_files import VIDEO_EXTENSIONS
from blip.data.sample import Sample

IMAGE, TEXT, META, VIDEO = range(4)
PARTS = {**dict.fromkeys(IMAGE_EXTENSIONS, IMAGE), "txt": TEXT, "json": META}
WITH_VIDEOS = {**PARTS, **dict.fromkeys(VIDEO_EXTENSIONS, VIDEO)}
ABSENT = -1
MORE_IMAGES = re.compile(rf"(\d{{1,6}})\.(?:{'|'.join(IMAGE_EXTENSIONS)})")
"""Suffixes of further images of a sample: KEY.1.jpg, KEY.2.jpg, ..."""
MACOS = "__MACOSX"
"""The folder in which macOS's archives keep what it knows of their files."""
LARGEST_GAP = 1 << 16
"""Gaps of so many bytes between a sample's members are read rather than skipped."""


class _Entry:
    """A sample in the table: offset and size of each part."""

    __slots__ = ("extension", "key", "more", "spans")

    def __init__(self, key: str) -> None:
        self.key, self.extension = key, "jpg"
        self.spans = [(0, ABSENT)] * 4
        self.more: dict[int, tuple[int, int]] | None = None
        """Further images by their number; most samples have none."""

    def has(self, part: int | None, number: int | None) -> bool:
        """Whether it has a part, or a further image, already."""
        if number is not None:
            return self.more is not None and number in self.more
        return part is not None and self.spans[part][1] != ABSENT


class _Table(NamedTuple):
    """The samples of a shard, and its own faults, each with the number of samples before it."""

    entries: list[_Entry]
    faults: list[tuple[int, Fault]]


@final
class Archive:
    """A shard in an open file: `len` samples, in the order of their first members.

    Members of one key make a sample, wherever they lie; a second part of a kind begins
    another one of the same key, a duplicate. Hidden members belong to no sample. With `videos`,
    these are parts as well; else a sample of a video has no picture.
    """

    def __init__(self, name: str, file: BinaryIO, *, videos: bool = False) -> None:
        self.file = file
        self._state = _state(file)
        size, known = self._state.size, WITH_VIDEOS if videos else PARTS
        entries, self.faults_at = _table(
            name, file, lambda n: file.seek(n, os.SEEK_CUR), size, known
        )
        """Of the shard itself (damaged, or with members under unsafe names), and where."""
        self.keys = [entry.key for entry in entries]
        self.extensions = [entry.extension for entry in entries]
        self.spans = np.array([entry.spans for entry in entries], dtype=np.int64).reshape(-1, 4, 2)
        self.more = {
            n: [entry.more[number] for number in sorted(entry.more)]
            for n, entry in enumerate(entries)
            if entry.more is not None
        }
        seen: set[str] = set()
        self.repeated = {n for n, key in enumerate(self.keys) if key in seen or seen.add(key)}

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.keys)

    @property
    def faults(self) -> list[Fault]:
        """Of the shard itself."""
        return [fault for _, fault in self.faults_at]

    def sample(self, number: int) -> Sample:
        """Read a sample; what cannot be read is missing from it."""
        spans = [(offset, size) for offset, size in self.spans[number].tolist()]
        there = [(offset, offset + size) for offset, size in spans if size != ABSENT]
        begin = min((begin for begin, _ in there), default=0)
        end = max((end for _, end in there), default=0)
        together = sum(stop - start for start, stop in there) + LARGEST_GAP >= end - begin
        content = self._read(begin, end - begin) if together else b""
        image, text, meta, video = (
            None
            if size == ABSENT
            else content[offset - begin : offset - begin + size]
            if together
            else self._read(offset, size)
            for offset, size in spans
        )
        more = tuple(self._read(offset, size) for offset, size in self.more.get(number, ()))
        parts = Parts(image, self.extensions[number], text, meta, more, video)
        return make_sample(self.keys[number], parts, number in self.repeated)

    def _read(self, offset: int, size: int) -> bytes:
        return os.pread(self.file.fileno(), size, offset)

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def reopen(self, file: BinaryIO) -> bool:
        """After `close`, read from the same file, opened again; False where it is another one."""
        if _state(file) != self._state:
            return False
        self.file = file
        return True


class _State(NamedTuple):
    """What tells a file from one that has replaced it; its time changes when a copy is used."""

    device: int
    inode: int
    size: int


def _state(file: BinaryIO) -> _State:
    status = os.fstat(file.fileno())
    return _State(status.st_dev, status.st_ino, status.st_size)


def count_samples(
    name: str, file: Reader, skip: Callable[[int], object], size: int | None = None
) -> tuple[int, list[Fault]]:
    """Samples of a shard and its faults, by headers alone; `size` is the file's, where known."""
    entries, faults = _table(name, file, skip, size, PARTS)
    return len(entries), [fault for _, fault in faults]


def _table(
    name: str,
    file: Reader,
    skip: Callable[[int], object],
    size: int | None,
    known: Mapping[str, int],
) -> _Table:
    entries: list[_Entry] = []
    faults: list[tuple[int, Fault]] = []
    latest: dict[str, _Entry] = {}
    for member in whole_members(file, skip, size):
        if isinstance(member, Damage):
            faults.append((len(entries), Fault(name, "", f"torn_tar: {member.reason}")))
        elif is_unsafe(member):
            # The sample that was begun last may not be at its end.
            faults.append((max(len(entries) - 1, 0), Fault(name, member.name, "unsafe_name")))
        elif member.kind != FOLDER and not is_hidden(member.name):
            key, suffix = split_name(member.name)
            part, entry = known.get(suffix), latest.get(key)
            number = _image_number(suffix) if part is None else None
            if entry is None or entry.has(part, number):
                entry = latest[key] = _Entry(key)
                entries.append(entry)
            if part is not None:
                entry.spans[part] = (member.offset, member.size)
            if part == IMAGE:
                entry.extension = suffix
            if number is not None:
                entry.more = {} if entry.more is None else entry.more
                entry.more[number] = (member.offset, member.size)
    return _Table(entries, faults)


def whole_members(
    file: Reader, skip: Callable[[int], object], size: int | None
) -> Iterator[Member | Damage]:
    """Members whose content is there whole."""
    for member in read_headers(file, skip):
        if isinstance(member, Member) and size is not None and member.offset + member.size > size:
            yield Damage(f"broken off at byte {size}")
            return
        yield member


def is_unsafe(member: Member) -> bool:
    """Whether it leads elsewhere, or is neither a plain file nor a folder."""
    name = member.name
    if name.startswith("/") or (".." in name and ".." in name.split("/")):
        return True
    return member.kind not in (*PLAIN, FOLDER)


def is_hidden(name: str) -> bool:
    """Whether an operating system put it there: `._a.jpg`, `.DS_Store`, `__MACOSX/a.jpg`.

    A name that is only a suffix is not hidden: it is a sample with an empty key.
    """
    if "." not in name[:1] and "/." not in name and MACOS not in name:
        return False
    *folders, file = PurePosixPath(name).parts or ("",)
    if any(folder.startswith(".") or folder == MACOS for folder in folders):
        return True
    return file.startswith(".") and file[1:].lower() not in PARTS


def _image_number(suffix: str) -> int | None:
    found = MORE_IMAGES.fullmatch(suffix)
    return None if found is None else int(found[1])


def split_name(name: str) -> tuple[str, str]:
    """The key of a member and its suffix, by the first dot after its folders."""
    if "//" in name or "./" in name:
        name = PurePosixPath(name).as_posix()
    folder, slash, file = name.rpartition("/")
    stem, _, suffix = file.partition(".")
    return f"{folder}{slash}{stem}", suffix.lower()
