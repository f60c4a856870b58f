"""Which image a text belongs to: decided where a sample is made, then only read."""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import PurePath

from blip.data.keys import storable
from blip.data.readers.remote import is_remote
from blip.data.sample import IMAGE_KEY, Sample

_SURROGATES = re.compile("[\ud800-\udfff]")
_PATTERNS = re.compile(r"[{}\[\]*?\x00-\x1f\x7f]")


class Places:
    """Identifies the images of one source, wherever its shards lie.

    A sample with an `image_key` shows the same image as every other sample with that `image_key` in
    the same folder; one without is an image of its own, known by its shard and key. Shards and
    folders are numbered in their order, so that an identity does not change when all are moved.
    """

    def __init__(self, shards: Iterable[str | PurePath]) -> None:
        self._shards: dict[str, int] = {}
        self._folders: dict[str, int] = {}
        for shard in shards:
            self._shards.setdefault(str(shard), len(self._shards))
            self._folders.setdefault(_folder(str(shard)), len(self._folders))

    def identify(self, shard: str | PurePath, sample: Sample) -> str:
        """The image of a sample of one of the shards: equal texts stand for the same image."""
        if sample.image_key is None:
            return f"shard {self._shards[str(shard)]}: {sample.key}"
        return f"folder {self._folders[_folder(str(shard))]}: {sample.image_key}"


def stable_number(identity: str) -> int:
    """63 bits that are the same in every process, and differ for different identities."""
    digest = hashlib.blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def keep_identity(samples: Iterable[Sample], name: str, path: PurePath) -> Iterator[Sample]:
    """Samples of a shard with their identity in `meta`, unique among shards that are read together.

    `name` is the shard's name among these: the stem of its `path`, with folders before it where
    stems repeat (`distinct_names`). The `image_key` that a sample has is kept, below those folders;
    for a sample without one it is made of this name and the sample's key.
    """
    folder = name.removesuffix(_as_text(path.stem)).strip("-")
    for sample in samples:
        image_key = sample.image_key
        if image_key is None:
            image_key = f"{name}/{sample.key}"
        else:
            if IMAGE_KEY not in sample.meta:
                image_key = f"{path.parent.name}/{image_key}"
            image_key = f"{folder}/{image_key}" if folder else image_key
        yield replace(sample, meta={**sample.meta, IMAGE_KEY: storable(image_key)})


def distinct_names(paths: Sequence[PurePath]) -> list[str] | None:
    """A name for each path: its stem, with as many folders before it as make all names differ.

    None where no number of folders does.
    """
    longest = max((len(path.parts) for path in paths), default=0)
    for depth in range(1, longest + 1):
        names = [_as_text("-".join((*path.parts[-depth:-1], path.stem))) for path in paths]
        if len(set(names)) == len(names):
            return [name.replace("/", "") for name in names]
    return [] if not paths else None


def _as_text(name: str) -> str:
    """A file's name as what we write is called: bytes that are not UTF-8 are spelt out.

    What stands for other names in a pattern becomes `_`, and so do control characters: readers of
    shards take every name for a pattern.
    """
    spelt = _SURROGATES.sub(lambda found: f"_x{ord(found[0]) & 0xFF:02x}", name)
    return _PATTERNS.sub("_", spelt)


def _folder(shard: str) -> str:
    if is_remote(shard):
        return shard.partition("?")[0].rpartition("/")[0]
    return os.path.realpath(os.path.dirname(os.path.abspath(shard)))
