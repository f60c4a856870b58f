"""WebDataset shards, tar files of KEY.jpg, KEY.txt, KEY.json: read with their faults, written."""

import io
import json
import os
import tarfile
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from glob import glob
from itertools import islice
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self

from braceexpand import braceexpand

from blip.data.image_files import IMAGE_EXTENSIONS
from blip.data.sample import Sample
from blip.errors import BlipError, UsageError, first_line

TEXT_LIMIT = 1 << 20
"""Longest text file that is read, in bytes."""
TORN = (tarfile.TarError, OSError, EOFError, ValueError, OverflowError, MemoryError)
"""What tarfile raises where the bytes are no tar: sizes that no integer or no memory holds, too."""


def expand(patterns: Iterable[str]) -> list[Path]:
    """Paths, folders, globs and brace ranges to the shards that they name, sorted, each once.

    Raises UsageError naming the pattern that names none.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        matches: list[Path] = []
        for plain in braceexpand(pattern):
            path = Path(plain).expanduser()
            if path.is_dir():
                matches += path.glob("*.tar")
            elif path.is_file():
                matches.append(path)
            else:
                matches += map(Path, glob(str(path)))
        if not matches:
            raise UsageError(f"no shards at {pattern}; allowed: .tar files, folders, globs, ranges")
        found |= dict.fromkeys(sorted(matches))
    return list(found)


@dataclass(slots=True)
class Parts:
    """The members of one key, before they are a sample."""

    image: bytes | None = None
    extension: str = "jpg"
    text: bytes | None = None
    meta: bytes | None = None


def read_shard(path: str | Path) -> Iterator[Sample]:
    """Samples of a local shard in their order.

    Bad data never raises: it comes as a sample whose `error` says what is wrong (`torn_tar`,
    `duplicate_key`, `missing_image`, `text_not_utf8`, `broken_json`, `unsafe_name`, ...).
    """
    try:
        archive = tarfile.open(path, "r:")  # noqa: SIM115 (closed by the reader below)
    except TORN as error:
        yield Sample("", None, error=f"torn_tar: {error}")
        return
    with archive:
        yield from _read_archive(archive, os.stat(path).st_size)


def _read_archive(archive: tarfile.TarFile, size: int) -> Iterator[Sample]:
    key, parts, seen = "", Parts(), set[str]()
    members = iter(archive)
    while True:
        try:
            member = next(members, None)
            if member is None:
                _check_end(archive)
                break
            name = PurePosixPath(member.name)
            if _is_unsafe(member, name):
                yield Sample(member.name, None, error="unsafe_name")
                continue
            if member.isdir():
                continue
            content = _read_member(archive, member, size)
        except TORN as error:
            if key:
                yield make_sample(key, parts, key in seen)
            yield Sample(key, None, error=f"torn_tar: {error}")
            return
        base, _, extension = name.name.partition(".")
        of = (name.parent / base).as_posix()
        if key and (of != key or _has(parts, extension.lower())):
            yield make_sample(key, parts, key in seen)
            seen.add(key)
            parts = Parts()
        key = of
        _put(parts, extension.lower(), content)
    if key:
        yield make_sample(key, parts, key in seen)


def _is_unsafe(member: tarfile.TarInfo, name: PurePosixPath) -> bool:
    """Whether it leads elsewhere, or is no plain file or folder; raises ReadError for no size."""
    if member.size < 0:
        # tarfile would go back by it, for ever.
        raise tarfile.ReadError("a size below zero")
    plain = (member.isfile() and not member.issparse()) or member.isdir()
    return name.is_absolute() or ".." in name.parts or not plain


def _read_member(archive: tarfile.TarFile, member: tarfile.TarInfo, size: int) -> bytes:
    """What is in a file of an archive of `size` bytes; raises ReadError where it is cut off."""
    # Before it is read: what a header asks for may be more than any memory.
    if member.offset_data + member.size > size:
        raise tarfile.ReadError("unexpected end of data")
    file = archive.extractfile(member)
    return file.read() if file is not None else b""


def _check_end(archive: tarfile.TarFile) -> None:
    """A tar ends with zeros; tarfile also takes a broken header for the end."""
    assert archive.fileobj is not None
    archive.fileobj.seek(archive.offset)
    if archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError(f"no header at byte {archive.offset}")


def _has(parts: Parts, extension: str) -> bool:
    if extension in IMAGE_EXTENSIONS:
        return parts.image is not None
    return (extension == "txt" and parts.text is not None) or (
        extension == "json" and parts.meta is not None
    )


def _put(parts: Parts, extension: str, content: bytes) -> None:
    if extension in IMAGE_EXTENSIONS:
        parts.image, parts.extension = content, extension
    elif extension == "txt":
        parts.text = content
    elif extension == "json":
        parts.meta = content


def make_sample(key: str, parts: Parts, duplicate: bool) -> Sample:
    """A sample of the members of a key, with the first of its faults, if it has any."""
    meta, texts, faults = _texts(parts)
    if parts.image is None:
        faults.insert(0, "missing_image")
    if duplicate:
        faults.insert(0, "duplicate_key")
    error = faults[0] if faults else None
    return Sample(key, parts.image, texts, meta, error, parts.extension)


def _texts(parts: Parts) -> tuple[dict[str, Any], tuple[str, ...], list[str]]:
    faults: list[str] = []
    meta: dict[str, Any] = {}
    if parts.meta is not None:
        try:
            loaded = json.loads(parts.meta)
            meta = loaded if isinstance(loaded, dict) else {}
        except (ValueError, RecursionError):
            faults.append("broken_json")
    captions = meta.get("captions")
    if isinstance(captions, list) and captions and all(isinstance(c, str) for c in captions):
        return meta, tuple(captions), faults
    if parts.text is None:
        return meta, (), faults
    if len(parts.text) > TEXT_LIMIT:
        return meta, (), [*faults, "text_too_long"]
    try:
        return meta, (parts.text.decode("utf-8").strip(),), faults
    except UnicodeDecodeError:
        return meta, (), [*faults, "text_not_utf8"]


def read_written(path: Path) -> Generator[list[tuple[str, bytes]], None, None]:
    """The samples of a shard that a `ShardWriter` wrote, each as names and contents of its files.

    They are its image, its text and its JSON. Raises BlipError where the shard is torn.
    """
    try:
        with tarfile.open(path, "r:") as archive:
            members = iter(archive)
            while files := list(islice(members, 3)):
                yield [(m.name, _read_member(archive, m, path.stat().st_size)) for m in files]
    except tarfile.TarError as error:
        raise BlipError(f"{path} is no whole shard: {first_line(error)}") from error


class ShardWriter:
    """Writes a shard whose bytes depend on what is put in and on nothing else.

    The tar appears under its name when the block ends without an error, and not before.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.part = path.with_name(f".{path.name}.part")
        self.count = 0

    def __enter__(self) -> Self:
        """Open a temporary file beside the shard."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.tar = tarfile.open(self.part, "w", format=tarfile.PAX_FORMAT)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Rename into place; after an error remove what was written."""
        self.tar.close()
        if kind is None:
            self.part.replace(self.path)
        else:
            self.part.unlink(missing_ok=True)

    def write(
        self, key: str, image: bytes, extension: str, text: str, meta: dict[str, Any]
    ) -> None:
        """Add a sample: KEY.extension, KEY.txt and KEY.json."""
        encoded = json.dumps(meta, sort_keys=True, ensure_ascii=False).encode()
        contents = {extension: image, "txt": text.encode(), "json": encoded}
        self.write_members([(f"{key}.{suffix}", data) for suffix, data in contents.items()])

    def write_members(self, members: Sequence[tuple[str, bytes]]) -> None:
        """Add a sample by the names and contents of its files, as `read_written` gives it."""
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.mtime = len(content), 0o644, 0
            self.tar.addfile(member, io.BytesIO(content))
        self.count += 1


def pack(samples: Iterable[Sample], folder: Path, per_shard: int = 1000) -> dict[str, int]:
    """Write sound samples to `folder/00000.tar`, ...; returns counts of `samples` and of faults."""
    counts = {"samples": 0, "shards": 0}
    with ExitStack() as stack:
        writer: ShardWriter | None = None
        for sample in samples:
            fault = sample.error or ("missing_image" if sample.image is None else None)
            if fault is not None or sample.image is None:
                reason = str(fault).partition(":")[0]
                counts[reason] = counts.get(reason, 0) + 1
                continue
            if writer is None or writer.count >= per_shard:
                stack.close()
                writer = stack.enter_context(ShardWriter(folder / f"{counts['shards']:05d}.tar"))
                counts["shards"] += 1
            meta = dict(sample.meta)
            if len(sample.texts) > 1:
                meta["captions"] = list(sample.texts)
            first = sample.texts[0] if sample.texts else ""
            writer.write(sample.key, sample.image, sample.extension, first, meta)
            counts["samples"] += 1
    return counts
