"""Writes WebDataset shards: tar files of KEY.jpg, KEY.txt and KEY.json."""

import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from blip.data.keys import check_key
from blip.data.readers.folders import extension_of
from blip.data.readers.image_files import ONE_EXTENSION
from blip.data.sample import Sample
from blip.data.writers.meta import encodable


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
        self,
        key: str,
        image: bytes,
        extension: str,
        text: str,
        meta: dict[str, Any],
        more_images: Sequence[bytes] = (),
    ) -> None:
        """Add a sample: KEY.extension, KEY.txt, KEY.json; further images as KEY.1.jpg and so on.

        A format has one extension, however the picture's file was called: readers of shards take
        `jpg` and `jpeg` for two fields. Raises BlipError for a key that they would not find again.
        """
        check_key(key)
        extension = extension.lower()
        extension = ONE_EXTENSION.get(extension, extension)
        encoded = json.dumps(encodable(meta), sort_keys=True, ensure_ascii=False).encode()
        contents = {extension: image, "txt": text.encode(), "json": encoded}
        for number, content in enumerate(more_images, 1):
            contents[f"{number}.{extension_of(content)}"] = content
        self.write_members([(f"{key}.{suffix}", data) for suffix, data in contents.items()])

    def write_members(self, members: Sequence[tuple[str, bytes]]) -> None:
        """Add a sample by the names and contents of its files, as `read_written` gives it."""
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.mtime = len(content), 0o644, 0
            self.tar.addfile(member, io.BytesIO(content))
        self.count += 1


def write_shards(samples: Iterable[Sample], folder: Path, per_shard: int = 1000) -> dict[str, int]:
    """Write sound samples to `folder/00000.tar`, ...; returns counts of `samples` and of faults.

    Pictures are not decoded.
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
            writer.write(
                sample.key, sample.image, sample.extension, first, meta, sample.more_images
            )
            counts["samples"] += 1
    return counts
