"""Reads WebDataset shards, tar files of KEY.jpg, KEY.txt and KEY.json, with their faults.

Further images of a sample are KEY.1.jpg, KEY.2.jpg, ...
"""

import tarfile
from collections.abc import Generator, Iterable, Iterator
from itertools import islice
from pathlib import Path

from blip.data.readers.archive import Archive
from blip.data.sample import Sample
from blip.errors import BlipError, first_line
from blip.files import open_regular


def read_shard(path: str | Path, *, videos: bool = False) -> Iterator[Sample]:
    """Samples of a local shard, in the order of their first files; with `videos`, those as well.

    Files of one key that do not lie together are one sample all the same. Bad data never raises: it
    comes as a sample whose `error` says what is wrong (`torn_tar`, `duplicate_key`,
    `missing_image`, `text_not_utf8`, `broken_json`, `unsafe_name`, ...), and the rest is read.
    """
    try:
        with open_regular(Path(path)) as file:
            archive, begun = Archive(str(path), file, videos=videos), 0
            for before, fault in archive.faults_at:
                yield from map(archive.sample, range(begun, before))
                begun = before
                # Damage is named by the sample before it.
                near = archive.keys[before - 1] if before else ""
                yield Sample(fault.key or near, None, error=fault.reason)
            yield from map(archive.sample, range(begun, len(archive)))
    except OSError as error:
        yield Sample("", None, error=f"unreadable: {error.strerror or error}")


def read_shard_at(
    path: str | Path, numbers: Iterable[int], *, videos: bool = False
) -> Iterator[tuple[int, Sample]]:
    """Some samples of a local shard, without reading the others.

    Each comes with its number among those of `read_shard`, from 0; numbers that are none of a
    sample are left out. Raises OSError if the shard cannot be read.
    """
    with open_regular(Path(path)) as file:
        archive = Archive(str(path), file, videos=videos)
        # A fault comes as a sample of its own, before the sample that follows it.
        faults = [before + place for place, (before, _) in enumerate(archive.faults_at)]
        for number in sorted(set(numbers).difference(faults)):
            inside = number - sum(fault < number for fault in faults)
            if inside < len(archive):
                yield number, archive.sample(inside)


def read_written(path: Path) -> Generator[list[tuple[str, bytes]], None, None]:
    """The samples of a shard that a `ShardWriter` wrote, each as names and contents of its files.

    They are its image, its text and its JSON. Where there is no shard, there are no samples. Raises
    BlipError if the shard is truncated.
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
