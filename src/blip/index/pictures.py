"""The samples of a place for an index, and pictures read again from where they lie."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

from PIL import Image

from blip.data.config import MAX_PIXELS
from blip.data.faults import BadSampleError
from blip.data.identity import keep_identity
from blip.data.images import decode_image, decode_small, one_large_picture_at_a_time
from blip.data.keys import storable
from blip.data.readers.archive import Archive
from blip.data.readers.open import find_kind
from blip.data.readers.remote import facts, is_remote, on_disk
from blip.data.readers.shards import read_shard, read_shard_at
from blip.data.readers.video_places import list_files, open_any, shows_videos
from blip.data.sample import Sample
from blip.data.transforms import eval_transform, normalise
from blip.data.videos.read import FRAMES
from blip.errors import BlipError
from blip.files import fingerprint_json, open_regular
from blip.index.store import Row
from blip.index.videos import middle_frame, read_frames
from blip.inference.pixels import NormalisedImage
from blip.log import say

T = TypeVar("T")


def mark_of(location: str, *, videos: bool) -> str:
    """Size and time of what lies at a place; another mark means that it has changed.

    Of a folder its pictures count, and with `videos` these as well.
    Raises BlipError, or OSError, if there is nothing.
    """
    if is_remote(location):
        known = facts(location)
        return f"{known.size} {known.tag}"
    path = Path(location)
    if not path.is_dir():
        status = path.stat()
        # A tar of videos that was read without them is another one.
        added = " videos" if videos and find_kind(path) == "tar" and shows_videos(location) else ""
        return f"{status.st_size} {status.st_mtime_ns}{added}"
    stats = [(str(file), file.stat()) for file in list_files(path, videos=videos)]
    return fingerprint_json([(name, s.st_size, s.st_mtime_ns) for name, s in stats])


def count_samples(location: str, *, videos: bool) -> int | None:
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
                    archive = Archive(location, file, videos=videos and shows_videos(location))
                    return len(archive) + len(archive.faults)
            case _:
                return open_any(path, videos=videos).count()
    except (BlipError, OSError):
        return 0


def read_place(path: Path, start: int, *, videos: bool) -> Iterator[Sample]:
    """The samples of a place from `start` on, under the keys that they have in the whole of it.

    Those of a tar as they stand there.
    """
    if find_kind(path) == "tar":
        shard = read_shard(path, videos=videos and shows_videos(str(path)))
        return islice(shard, start, None)
    reader = open_any(path, videos=videos)
    reader.check()
    # From the first on, however many are skipped: only then it is known which keys repeat.
    return islice(keep_identity(reader.samples(), path.stem, path), start, None)


def to_normalised(
    sample: Sample, size: int, frames: int | None, max_pixels: int
) -> NormalisedImage | None:
    """The pixels of a sample's picture, or of the frames of its video; None where it has neither.

    Raises BadSampleError for what cannot be used.
    """
    if sample.image is not None:
        with one_large_picture_at_a_time(sample.image, max_pixels):
            image = decode_image(sample.image, max_pixels)
        return NormalisedImage(eval_transform(image, size))
    if sample.video is None:
        return None
    video = read_frames(sample.video, frames or FRAMES, max_pixels)
    return NormalisedImage(normalise(video.pixels(size)))


def read_pictures(
    rows: Sequence[Row],
    max_pixels: int = MAX_PIXELS,
    *,
    videos: Collection[str] = (),
    side: int | None = None,
) -> list[Image.Image | None]:
    """The picture of each row, or the middle frame of its video; the rest is as in `read_again`.

    With `side` each is decoded to so many pixels on the longest side, before the next one is read.
    """

    def open_sample(sample: Sample) -> Image.Image | None:
        if sample.image is not None:
            with one_large_picture_at_a_time(sample.image, max_pixels):
                if side is None:
                    return decode_image(sample.image, max_pixels)
                return decode_small(sample.image, side, max_pixels)
        if sample.video is None:
            return None
        picture = middle_frame(sample.video, max_pixels)
        if side is not None:
            picture.thumbnail((side, side))
        return picture

    return read_again(rows, open_sample, videos=videos)


def read_again(
    rows: Sequence[Row], open_sample: Callable[[Sample], T | None], *, videos: Collection[str]
) -> list[T | None]:
    """What `open_sample` makes of the sample of each row; None where that is no longer there.

    Each place is opened once; a remote one is fetched whole. `videos` are the places whose videos
    are in the index. What is missing is said.
    """
    wanted: dict[str, dict[int, Row]] = {}
    for row in rows:
        wanted.setdefault(row.place, {})[row.number] = row
    found: dict[tuple[str, int], T] = {}
    for place, of_place in wanted.items():
        try:
            with on_disk(place) as path:
                for number, sample in _samples_at(path, of_place, videos=place in videos):
                    if not _is_of(sample, of_place[number]):
                        continue
                    try:
                        opened = open_sample(sample)
                    except BadSampleError:
                        continue
                    if opened is not None:
                        found[place, number] = opened
        except (BlipError, OSError) as error:
            say(f"cannot read {place} again: {error}")
            continue
        lost = [row.key for row in of_place.values() if (place, row.number) not in found]
        if lost:
            say(f"{place} no longer holds {lost[0]}, or another picture")
    return [found.get((row.place, row.number)) for row in rows]


def _samples_at(
    path: Path, numbers: Iterable[int], *, videos: bool
) -> Iterator[tuple[int, Sample]]:
    if find_kind(path) == "tar":
        yield from read_shard_at(path, numbers, videos=videos)
        return
    yield from open_any(path, videos=videos).samples_at(set(numbers))


def _is_of(sample: Sample, row: Row) -> bool:
    """Whether a sample read alone is that of a row; the key of a repeated one got its number."""
    key = storable(sample.key)
    return row.key == key or (
        row.key.startswith(f"{key}-") and row.key.endswith(f"-{row.number:09d}")
    )
