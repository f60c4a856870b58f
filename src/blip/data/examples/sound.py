"""The sound samples that a model is evaluated with; what is wrong with others is counted."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from blip.data.examples.usable import Usable
from blip.data.faults import BadSamples, Fault
from blip.data.readers.sources import Place, find_anywhere, read_sources
from blip.data.sample import Sample
from blip.errors import BlipError
from blip.log import say

Content = TypeVar("Content")


def read_sound(
    shards: Iterable[str],
    find: Callable[[Sample], Usable[Content]],
    find_picture_fault: Callable[[bytes], str | None],
    bad: BadSamples,
    lost: str,
    size: Callable[[Content], int],
    *,
    pictures: int = 1,
) -> Iterator[tuple[Place, Sample, Content]]:
    """Shard, sample and what `find` takes of it, of all samples whose first `pictures` are sound.

    What is wrong goes into `bad`; what was found of a sample that is left out counts there, by its
    `size`, as `lost`. Raises UsageError if there are no shards.
    """
    for shard, sample in read_sources(find_anywhere(shards)):
        found = find(sample)
        if is_sound(shard, sample, found, find_picture_fault, bad, pictures=pictures):
            yield shard, sample, found.sound
        else:
            bad.lose(lost, size(found.sound))


def is_sound(
    shard: Place,
    sample: Sample,
    found: Usable[Content],
    find_picture_fault: Callable[[bytes], str | None],
    bad: BadSamples,
    *,
    pictures: int = 1,
) -> bool:
    """Whether a sample and its first `pictures` can be used; what is wrong goes into `bad`."""
    sample_fault = found.sample_fault
    if sample_fault is None and sample.image is not None:
        used = (sample.image, *sample.more_images)[:pictures]
        sample_fault = next(filter(None, map(find_picture_fault, used)), None)
    if fault := sample_fault or found.part_fault:
        bad.add([Fault(Path(shard).name, sample.key, fault)])
    return sample_fault is None


def say_left_out(
    bad: BadSamples, usable: bool, noun: str, *, where_none: str = "no sample"
) -> None:
    """Say what was left out; raises BlipError if nothing is `usable`."""
    with_them = "".join(f"; {name.replace('_', ' ')}: {count}" for name, count in bad.lost.items())
    if not usable:
        raise BlipError(f"no usable {noun}: {bad.describe() or where_none}{with_them}")
    if bad:
        say(f"left out: {bad.describe()}{with_them}")
