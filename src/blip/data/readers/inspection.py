"""What a collection in any form holds: counted sample by sample, or by its headers and rows."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from blip.data.annotations.videos import MISSING_VIDEO, ListedVideo, list_videos, lists_videos
from blip.data.faults import BadSampleError, Fault
from blip.data.images import decode_image
from blip.data.questions import questions_of
from blip.data.readers.counts import Shard, index_shards, read_statistics
from blip.data.readers.open import find_kind, open_place
from blip.data.readers.remote import is_remote, on_disk
from blip.data.readers.shards import read_shard
from blip.data.readers.video_places import holds_only_videos, open_any, shows_videos
from blip.data.sample import Sample
from blip.data.statements import statements_of
from blip.data.texts import MISSING
from blip.data.videos.facts import VideoFacts, read_facts
from blip.data.videos.stream import BadVideoError
from blip.errors import BlipError
from blip.installed import need
from blip.log import Progress, progress, say

SIZES_SHOWN = 5
"""Sizes of videos that a line lists."""


@dataclass(slots=True)
class Videos:
    """The videos that can be used among what was found."""

    count: int = 0
    seconds: float = 0.0
    shortest: float = math.inf
    longest: float = 0.0
    size: int = 0
    """Bytes of their files."""
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    """How many are so wide and so high, upright."""
    traits: Counter[str] = field(default_factory=Counter)
    named: list[str] = field(default_factory=list)
    """Place, key and traits of those that have some."""

    def add(self, facts: VideoFacts, size: int) -> None:
        """Count a video of `size` bytes."""
        self.count += 1
        self.seconds += facts.seconds
        self.shortest = min(self.shortest, facts.seconds)
        self.longest = max(self.longest, facts.seconds)
        self.size += size
        self.sizes[facts.width, facts.height] += 1
        self.traits.update(facts.traits)

    def to_json(self) -> dict[str, object]:
        """Durations in seconds, sizes in pixels and bytes."""
        return {
            "seconds": round(self.seconds, 3),
            "shortest": round(self.shortest, 3),
            "longest": round(self.longest, 3),
            "bytes": self.size,
            "sizes": {f"{width}x{height}": n for (width, height), n in self.sizes.most_common()},
            "named": self.named,
        }

    def describe(self) -> str:
        """The same on a line, with the most frequent sizes."""
        most = [f"{w}x{h} ({count})" for (w, h), count in self.sizes.most_common(SIZES_SHOWN)]
        more = ", ..." if len(self.sizes) > SIZES_SHOWN else ""
        return (
            f"videos of {self.shortest:.1f} to {self.longest:.1f} s, {self.seconds:.1f} s in all, "
            f"{self.size / 1e6:.1f} MB; pixels: {', '.join(most)}{more}"
        )


@dataclass(slots=True)
class Contents:
    """What was found in some tars, tables, and folders of pictures and videos."""

    shards: int
    samples: int = 0
    texts: int = 0
    questions: int = 0
    """About the images or videos, where the samples hold some."""
    statements: int = 0
    """About pairs of images, where the samples hold some."""
    videos: Videos = field(default_factory=Videos)
    faults: list[str] = field(default_factory=list)
    """Place, key and reason of every bad sample."""
    unread: int = 0
    """Places that could not be read at all."""

    def counts(self) -> dict[str, int]:
        """The numbers, the bad samples among them."""
        return {
            "shards": self.shards,
            "samples": self.samples,
            "texts": self.texts,
            **({"questions": self.questions} if self.questions else {}),
            **({"statements": self.statements} if self.statements else {}),
            **({"videos": self.videos.count} if self.videos.count else {}),
            **dict(sorted(self.videos.traits.items())),
            "bad": len(self.faults),
        }


@dataclass(frozen=True, slots=True)
class Counted:
    """The tars of a collection as the index knows them, and how much else there is."""

    shards: list[Shard]
    others: int
    """Tables, folders of pictures and compressed tars, which need no index."""
    samples_of_others: int
    lost: list[Fault]
    """Shards that could not be read, with the reason."""


def inspect_places(places: Sequence[str]) -> Contents:
    """Read everything through, decode pictures and frames of videos, and name what is bad."""
    contents = Contents(len(places))
    with progress(len(places), "inspect", "shards") as bar:
        for place in places:
            name = place if is_remote(place) else Path(place).name
            try:
                with on_disk(place) as path:
                    before = len(contents.videos.named)
                    for fault in _faults(path, contents, bar):
                        contents.faults.append(f"{name} {fault}")
                    named = contents.videos.named
                    named[before:] = [f"{name} {one}" for one in named[before:]]
            except BlipError as error:
                contents.unread += 1
                contents.faults.append(f"{name} unreadable: {error}")
            bar.advance()
    return contents


def count_places(places: Sequence[str], cache: Path) -> Counted:
    """Count tars by headers or by their index in `cache`, tables by rows, folders by pictures.

    Compressed tars are read through.
    """
    tars = [place for place in places if is_remote(place) or find_kind(Path(place)) == "tar"]
    others, lost, are_tars = list[int](), list[Fault](), set(tars)
    for place in (place for place in places if place not in are_tars):
        try:
            others.append(open_place(Path(place)).count())
        except BlipError as error:
            lost.append(Fault(place, "", f"unreadable: {error}"))
    shards = index_shards(tars, cache, lost) if tars else []
    return Counted(shards, len(others), sum(others), lost)


def _faults(path: Path, contents: Contents, bar: Progress) -> Iterator[str]:
    """Count the samples and texts of a place; key and reason of each bad one."""
    if lists_videos(path):
        yield from _faults_of_videos(list_videos(path), contents, bar)
        return
    before = contents.samples
    for sample in _samples(path):
        contents.samples += 1
        contents.texts += len(sample.texts)
        contents.questions += len(questions_of(sample.meta)[0])
        contents.statements += len(statements_of(sample.meta)[0])
        error = sample.error
        try:
            if error is None and sample.image is not None:
                for content in (sample.image, *sample.more_images):
                    decode_image(content)
            if error in (None, MISSING) and sample.image is None and sample.video is not None:
                _count_video(sample.key, sample.video, contents)
        except BadSampleError as bad:
            error = str(bad)
        if error is not None:
            yield f"{sample.key or '-'} {error}"
        bar.advance(0, samples=contents.samples)
    _compare(str(path), contents.samples - before)


def _samples(path: Path) -> Iterator[Sample]:
    """The samples of a place, with its videos where they can be read; of a tar as they stand."""
    videos = find_spec("av") is not None
    if find_kind(path) == "tar":
        return read_shard(path, videos=videos)
    if not videos and path.is_dir() and holds_only_videos(path):
        need("av", "PyAV", "video")
    among_pictures = videos and path.is_dir() and shows_videos(str(path))
    return (open_any(path, videos=True) if among_pictures else open_place(path)).samples()


def _faults_of_videos(
    listed: Iterable[ListedVideo], contents: Contents, bar: Progress
) -> Iterator[str]:
    need("av", "PyAV", "video")
    for video in listed:
        contents.samples += 1
        contents.texts += len(video.texts)
        contents.questions += len(video.questions)
        bar.advance(0, samples=contents.samples)
        yield from (f"{video.key} {fault}" for fault in video.faults)
        source = video.source
        if source is None:
            # What names no video has said so.
            if video.texts or video.questions or not video.faults:
                yield f"{video.key} {MISSING_VIDEO}"
            continue
        try:
            content = source if isinstance(source, Path) else source.read()
            _count_video(video.key, content, contents)
        except BadSampleError as bad:
            yield f"{video.key} {bad}"


def _count_video(key: str, content: Path | bytes, contents: Contents) -> None:
    """Count a video by its facts; raises BadVideoError."""
    try:
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        facts = read_facts(content)
    except OSError as error:
        raise BadVideoError(f"unreadable: {error.strerror}") from error
    contents.videos.add(facts, size)
    if facts.traits:
        contents.videos.named.append(f"{key} {', '.join(facts.traits)}")


def _compare(place: str, samples: int) -> None:
    """Name the statistics beside a shard if they give another number of samples."""
    statistics = read_statistics(place)
    if statistics is not None and statistics.samples != samples:
        say(
            f"{statistics.location} says {statistics.samples} samples, the shard holds {samples}; "
            "remove that file, which is out of date"
        )
