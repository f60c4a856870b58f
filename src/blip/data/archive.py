"""Random access to the samples of a shard, by a table of where their members lie."""

import os
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import BinaryIO, NamedTuple, final

import numpy as np

from blip.data.headers import FOLDER, Member, Reader, TornTarError, read_headers
from blip.data.image_files import IMAGE_EXTENSIONS
from blip.data.sample import Sample
from blip.data.shards import Parts, make_sample

IMAGE, TEXT, META = range(3)
PARTS = {**dict.fromkeys(IMAGE_EXTENSIONS, IMAGE), "txt": TEXT, "json": META}
ABSENT = -1


class Fault(NamedTuple):
    """What is wrong with a sample, or with a shard where `key` is empty."""

    shard: str
    key: str
    reason: str

    @property
    def kind(self) -> str:
        """The reason without what is special to this case."""
        return self.reason.partition(":")[0]


class _Entry(NamedTuple):
    """A sample in the table: offset and size of each part."""

    key: str
    extension: str
    spans: list[tuple[int, int]]


@final
class Archive:
    """A shard in an open file: `len` samples, in the order and with the faults of `read_shard`."""

    def __init__(self, name: str, file: BinaryIO) -> None:
        self.file = file
        size = os.fstat(file.fileno()).st_size
        entries: list[_Entry] = []
        self.faults: list[Fault] = []
        """Of the shard itself: broken off, or with members under unsafe names."""
        for entry in _entries(name, file, lambda n: file.seek(n, os.SEEK_CUR), self.faults, size):
            entries.append(entry)
        self.keys = [entry.key for entry in entries]
        self.extensions = [entry.extension for entry in entries]
        self.spans = np.array([entry.spans for entry in entries], dtype=np.int64).reshape(-1, 3, 2)
        seen: set[str] = set()
        self.repeated = {n for n, key in enumerate(self.keys) if key in seen or seen.add(key)}

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.keys)

    def sample(self, number: int) -> Sample:
        """Read a sample in one piece; what cannot be read is missing from it."""
        spans = self.spans[number]
        there = spans[:, 1] != ABSENT
        if not there.any():
            return make_sample(self.keys[number], Parts(), number in self.repeated)
        begin = int(spans[there, 0].min())
        length = int(spans[there].sum(axis=1).max()) - begin
        content = os.pread(self.file.fileno(), length, begin)
        image, text, meta = (
            content[offset - begin : offset - begin + size] if size != ABSENT else None
            for offset, size in spans.tolist()
        )
        parts = Parts(image, self.extensions[number], text, meta)
        return make_sample(self.keys[number], parts, number in self.repeated)

    def close(self) -> None:
        """Close the file."""
        self.file.close()


def count_samples(
    name: str, file: Reader, skip: Callable[[int], object], size: int | None = None
) -> tuple[int, list[Fault]]:
    """Samples of a shard and its faults, by headers alone; `size` is the file's, where known."""
    faults: list[Fault] = []
    return sum(1 for _ in _entries(name, file, skip, faults, size)), faults


def _entries(
    name: str,
    file: Reader,
    skip: Callable[[int], object],
    faults: list[Fault],
    size: int | None,
) -> Iterator[_Entry]:
    """Group members into samples, exactly as `read_shard` does."""
    key, extension, spans = "", "jpg", _no_spans()
    for member, of, suffix in _members(name, file, skip, faults, size):
        part = PARTS.get(suffix)
        if key and (of != key or (part is not None and spans[part][1] != ABSENT)):
            yield _Entry(key, extension, spans)
            extension, spans = "jpg", _no_spans()
        key = of
        if part is not None:
            spans[part] = (member.offset, member.size)
        if part == IMAGE:
            extension = suffix
    if key:
        yield _Entry(key, extension, spans)


def _members(
    name: str,
    file: Reader,
    skip: Callable[[int], object],
    faults: list[Fault],
    size: int | None,
) -> Iterator[tuple[Member, str, str]]:
    """Plain files under safe names, with the key and the suffix of each."""
    try:
        for member in read_headers(file, skip):
            if member.kind == FOLDER:
                continue
            if member.kind not in (b"0", b"\0") or _unsafe(member.name):
                faults.append(Fault(name, member.name, "unsafe_name"))
                continue
            if size is not None and member.offset + member.size > size:
                raise TornTarError(f"broken off at byte {size}")
            yield member, *_split(member.name)
    except TornTarError as error:
        faults.append(Fault(name, "", f"torn_tar: {error}"))


def _no_spans() -> list[tuple[int, int]]:
    return [(0, ABSENT)] * 3


def _unsafe(name: str) -> bool:
    return name.startswith("/") or (".." in name and ".." in name.split("/"))


def _split(name: str) -> tuple[str, str]:
    if "//" in name or "./" in name:
        name = PurePosixPath(name).as_posix()
    folder, slash, file = name.rpartition("/")
    stem, _, suffix = file.partition(".")
    return f"{folder}{slash}{stem}", suffix.lower()
