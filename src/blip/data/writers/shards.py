"""Writes WebDataset shards: tar files of KEY.jpg (or KEY.mp4), KEY.txt and KEY.json."""

import io
import json
import os
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
from blip.files import hidden_beside, open_regular, put_in_place


class ShardWriter:
    """Writes a shard whose bytes depend on what is put in and on nothing else.

    The tar appears under its name when the block ends without an error, and not before.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.part = hidden_beside(path, "part")
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
        """Flush to the disk and rename into place; after an error remove what was written."""
        self.tar.close()
        if kind is None:
            put_in_place(self.part, self.path)
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
        contents = {extension: image, "txt": text.encode(), "json": _to_json(meta)}
        for number, content in enumerate(more_images, 1):
            contents[f"{number}.{extension_of(content)}"] = content
        self.write_members([(f"{key}.{suffix}", data) for suffix, data in contents.items()])

    def write_video(
        self, key: str, video: Path | bytes, extension: str, text: str, meta: dict[str, Any]
    ) -> None:
        """Add a sample: KEY.extension, KEY.txt, KEY.json; a file is copied and not held in memory.

        Raises BlipError as `write` does, and OSError for a file that cannot be read.
        """
        check_key(key)
        with io.BytesIO(video) if isinstance(video, bytes) else open_regular(video) as file:
            size = len(video) if isinstance(video, bytes) else os.fstat(file.fileno()).st_size
            self.tar.addfile(_member(f"{key}.{extension}", size), file)
        self.write_members([(f"{key}.txt", text.encode()), (f"{key}.json", _to_json(meta))])

    def write_members(self, members: Sequence[tuple[str, bytes]]) -> None:
        """Add a sample by the names and contents of its files, as `read_written` gives it."""
        for name, content in members:
            self.tar.addfile(_member(name, len(content)), io.BytesIO(content))
        self.count += 1


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o644, 0
    return member


def _to_json(meta: dict[str, Any]) -> bytes:
    return json.dumps(encodable(meta), sort_keys=True, ensure_ascii=False).encode()


def write_shards(samples: Iterable[Sample], folder: Path, per_shard: int = 1000) -> dict[str, int]:
    """Write sound samples to `folder/00000.tar`, ...; returns counts of `samples` and of faults.

    Pictures and videos are not decoded.
    """
    counts = {"samples": 0, "shards": 0}
    with ExitStack() as stack:
        writer: ShardWriter | None = None
        for sample in samples:
            image, video = sample.image, sample.video
            if sample.error is not None or (image is None and video is None):
                reason = (sample.error or "missing_image").partition(":")[0]
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
            if image is not None:
                more = sample.more_images
                writer.write(sample.key, image, sample.extension, first, meta, more)
            elif video is not None:
                writer.write_video(sample.key, video, sample.extension, first, meta)
            counts["samples"] += 1
    return counts
