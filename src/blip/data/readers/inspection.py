"""What a collection in any form holds: counted sample by sample, or by its headers and rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from blip.data.faults import Fault
from blip.data.images import BadImageError, decode_image
from blip.data.questions import questions_of
from blip.data.readers.counts import Shard, index_shards, read_statistics
from blip.data.readers.open import find_kind, open_place
from blip.data.readers.remote import is_remote, on_disk
from blip.data.readers.shards import read_shard
from blip.data.statements import statements_of
from blip.errors import BlipError
from blip.log import progress, say


@dataclass(slots=True)
class Contents:
    """What was found in some tars, tables and folders of pictures."""

    shards: int
    samples: int = 0
    texts: int = 0
    questions: int = 0
    """About the images, where the samples hold some."""
    statements: int = 0
    """About pairs of images, where the samples hold some."""
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
    """Read everything through, decode every picture, and name what is bad."""
    contents = Contents(len(places))
    with progress(len(places), "inspect", "shards") as bar:
        for place in places:
            name = place if is_remote(place) else Path(place).name
            try:
                with on_disk(place) as path:
                    contents.faults += [f"{name} {fault}" for fault in _faults(path, contents)]
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
    others, lost = list[int](), list[Fault]()
    for place in (place for place in places if place not in set(tars)):
        try:
            others.append(open_place(Path(place)).count())
        except BlipError as error:
            lost.append(Fault(place, "", f"unreadable: {error}"))
    shards = index_shards(tars, cache, lost) if tars else []
    return Counted(shards, len(others), sum(others), lost)


def _faults(path: Path, contents: Contents) -> Iterator[str]:
    """Count the samples and texts of a place; key and reason of each bad one."""
    before = contents.samples
    # Those of a tar under the keys that stand in it.
    for sample in read_shard(path) if find_kind(path) == "tar" else open_place(path).samples():
        contents.samples += 1
        contents.texts += len(sample.texts)
        contents.questions += len(questions_of(sample.meta)[0])
        contents.statements += len(statements_of(sample.meta)[0])
        error = sample.error
        try:
            if error is None and sample.image is not None:
                for content in (sample.image, *sample.more_images):
                    decode_image(content)
        except BadImageError as bad:
            error = str(bad)
        if error is not None:
            yield f"{sample.key or '-'} {error}"
    _compare(str(path), contents.samples - before)


def _compare(place: str, samples: int) -> None:
    """Name the statistics beside a shard if they give another number of samples."""
    statistics = read_statistics(place)
    if statistics is not None and statistics.samples != samples:
        say(
            f"{statistics.location} says {statistics.samples} samples, the shard holds {samples}; "
            "remove that file, which is out of date"
        )
