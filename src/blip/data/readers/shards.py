"""WebDataset shards, tar files of KEY.jpg, KEY.txt, KEY.json: read with their faults, written."""

import io
import json
import tarfile
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from blip.data.keys import check_key
from blip.data.meta import encodable
from blip.data.readers.archive import Archive
from blip.data.readers.image_files import ONE_EXTENSION
from blip.data.readers.patterns import expand
from blip.data.sample import Sample
from blip.errors import BlipError, first_line
from blip.files import open_regular

__all__ = ["ShardWriter", "expand", "pack", "read_shard", "read_written"]


def read_shard(path: str | Path) -> Iterator[Sample]:
    """Samples of a local shard, in the order of their first files.

    Files of one key that do not lie together are one sample all the same. Bad data never raises: it
    comes as a sample whose `error` says what is wrong (`torn_tar`, `duplicate_key`,
    `missing_image`, `text_not_utf8`, `broken_json`, `unsafe_name`, ...), and the rest is read.
    """
    try:
        with open_regular(Path(path)) as file:
            archive, begun = Archive(str(path), file), 0
            for before, fault in archive.faults_at:
                yield from map(archive.sample, range(begun, before))
                begun = before
                # Damage is named by the sample before it.
                near = archive.keys[before - 1] if before else ""
                yield Sample(fault.key or near, None, error=fault.reason)
            yield from map(archive.sample, range(begun, len(archive)))
    except OSError as error:
        yield Sample("", None, error=f"unreadable: {error.strerror or error}")


def read_written(path: Path) -> Generator[list[tuple[str, bytes]], None, None]:
    """The samples of a shard that a `ShardWriter` wrote, each as names and contents of its files.

    They are its image, its text and its JSON. Where there is no shard, there are no samples. Raises
    BlipError where the shard is truncated.
    """
    if not path.exists():
        return
    try:
        with tarfile.open(path, "r:") as archive:
            members = iter(archive)
            while files := list(islice(members, 3)):
                opened = [(member.name, archive.extractfile(member)) for member in files]
                yield [(name, file.read()) for name, file in opened if file is not None]
    except tarfile.TarError as error:
        raise BlipError(f"{path} is not a whole shard: {first_line(error)}") from error


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
        """Add a sample: KEY.extension, KEY.txt and KEY.json.

        A format has one extension, however the picture's file was called: readers of shards take
        `jpg` and `jpeg` for two fields. Raises BlipError for a key that they would not find again.
        """
        check_key(key)
        extension = extension.lower()
        extension = ONE_EXTENSION.get(extension, extension)
        encoded = json.dumps(encodable(meta), sort_keys=True, ensure_ascii=False).encode()
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
    """Write sound samples to `folder/00000.tar`, ...; returns counts of `samples` and of faults.

    Pictures are not looked into.
    """
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
