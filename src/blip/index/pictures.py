"""The samples of a place for an index, and pictures read again from where they lie."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from PIL import Image

from blip.data.config import MAX_PIXELS
from blip.data.identity import keep_identity
from blip.data.images import BadImageError, decode_image
from blip.data.keys import storable
from blip.data.readers.archive import Archive
from blip.data.readers.image_files import list_images
from blip.data.readers.open import find_kind, open_place
from blip.data.readers.remote import facts, is_remote, on_disk
from blip.data.readers.shards import read_shard, read_shard_at
from blip.data.sample import Sample
from blip.errors import BlipError
from blip.files import fingerprint_json, open_regular
from blip.index.store import Row
from blip.log import printable, say


def mark_of(location: str) -> str:
    """Size and time of what lies at a place; another mark means that it has changed.

    Raises BlipError, or OSError, where there is nothing.
    """
    if is_remote(location):
        known = facts(location)
        return f"{known.size} {known.tag}"
    path = Path(location)
    if not path.is_dir():
        status = path.stat()
        return f"{status.st_size} {status.st_mtime_ns}"
    stats = [(str(image), image.stat()) for image in list_images(path)]
    return fingerprint_json([(name, s.st_size, s.st_mtime_ns) for name, s in stats])


def count_samples(location: str) -> int | None:
    """How many samples a place holds; None where it would have to be fetched or read through.

    Of what cannot be read it is 0.
    """
    if is_remote(location):
        return None
    path = Path(location)
    try:
        match find_kind(path):
            case "compressed tar":
                return None
            case "tar":
                with open_regular(path) as file:
                    archive = Archive(location, file)
                    return len(archive) + len(archive.faults)
            case _:
                return open_place(path, need_text=False).count()
    except (BlipError, OSError):
        return 0


def read_place(path: Path, start: int) -> Iterator[Sample]:
    """The samples of a place from `start` on; those of a tar as they stand there."""
    if find_kind(path) == "tar":
        return islice(read_shard(path), start, None)
    reader = open_place(path, need_text=False)
    reader.check()
    return keep_identity(reader.samples(start), path.stem, path)


def read_pictures(rows: Sequence[Row], max_pixels: int = MAX_PIXELS) -> list[Image.Image | None]:
    """The picture of each row, from its place; None where it is no longer there.

    Each place is opened once; a remote one is fetched whole. What is missing is said.
    """
    wanted: dict[str, dict[int, Row]] = {}
    for row in rows:
        wanted.setdefault(row.place, {})[row.number] = row
    found: dict[tuple[str, int], Image.Image] = {}
    for place, of_place in wanted.items():
        try:
            with on_disk(place) as path:
                for number, sample in _samples_at(path, of_place):
                    image = _image(sample, of_place[number], max_pixels)
                    if image is not None:
                        found[place, number] = image
        except (BlipError, OSError) as error:
            say(f"cannot read {printable(place)} again: {error}")
            continue
        lost = [row.key for row in of_place.values() if (place, row.number) not in found]
        if lost:
            say(f"{printable(place)} no longer holds {printable(lost[0])}, or another picture")
    return [found.get((row.place, row.number)) for row in rows]


def _samples_at(path: Path, numbers: Iterable[int]) -> Iterator[tuple[int, Sample]]:
    if find_kind(path) == "tar":
        yield from read_shard_at(path, numbers)
        return
    reader = open_place(path, need_text=False)
    if find_kind(path) == "compressed tar":
        wanted = set(numbers)
        for number, sample in enumerate(reader.samples(0, max(wanted) + 1)):
            if number in wanted:
                yield number, sample
        return
    for number in sorted(numbers):
        for sample in reader.samples(number, number + 1):
            yield number, sample


def _image(sample: Sample, row: Row, max_pixels: int) -> Image.Image | None:
    if sample.image is None or storable(sample.key) != row.key:
        return None
    try:
        return decode_image(sample.image, max_pixels)
    except BadImageError:
        return None
