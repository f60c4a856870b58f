"""Compressed tars: unpacked into a file for a while, as shards are read in any order."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

import pyarrow as pa

from blip.data.readers.shards import read_shard
from blip.data.sample import Sample

CHUNK = 1 << 20
BROKEN = (EOFError, OSError, ValueError, zlib.error, lzma.LZMAError, pa.ArrowException)
"""What the libraries raise where the bytes are not what the file's name says."""


def read_compressed(path: Path) -> Iterator[Sample]:
    """The samples of a compressed tar as `read_shard` gives them.

    Of one that breaks off, or is damaged, what could be unpacked is read, and `torn_tar` is the
    last sample. Needs as much room as the tar takes, where temporary files lie.
    """
    with TemporaryDirectory(prefix="blip-") as folder:
        plain = Path(folder) / "shard.tar"
        _unpack(path, plain)
        yield from read_shard(plain)


def _unpack(path: Path, target: Path) -> None:
    with target.open("wb") as file:
        for chunk in _chunks(path):
            file.write(chunk)


def _chunks(path: Path) -> Iterator[bytes]:
    """What is in a file, as far as it can be unpacked: what is missing, the tar's reader names."""
    try:
        with _opener(path)(path) as packed:
            while chunk := packed.read(CHUNK):
                yield chunk
    except BROKEN:
        return


def _opener(path: Path) -> Callable[[Path], IO[bytes] | Any]:
    suffix = path.suffix.lower()
    if suffix in (".gz", ".tgz"):
        return gzip.open
    if suffix in (".bz2", ".tbz", ".tbz2"):
        return bz2.open
    if suffix in (".xz", ".txz"):
        return lzma.open
    kind = "lz4" if suffix == ".lz4" else "zstd"
    return lambda path: pa.input_stream(str(path), compression=kind)
