"""All usable samples of local shards, tables and folders, in memory, and the faults of the rest."""

from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import blake2b

from blip.data.faults import BadSamples, Fault
from blip.data.identity import Places
from blip.data.readers.sources import find_sources, read_sources
from blip.data.sample import Sample, Selected
from blip.errors import UsageError

Check = Callable[[Sample], Selected]
"""Decides which part of a sample is used, and how many examples it holds."""


@dataclass(slots=True)
class SampleIndex:
    """Samples in the order of their places; each holds examples, which are numbered through.

    Compressed image bytes are kept in memory, so that this is for sets of gigabytes, not terabytes.
    """

    samples: list[Sample] = field(default_factory=list)
    image_ids: list[int] = field(default_factory=list)
    """For each sample."""
    starts: list[int] = field(default_factory=list)
    """The number of the first example of each sample."""
    size: int = 0
    """Number of examples."""
    bad: BadSamples = field(default_factory=BadSamples)
    first_id: int = 0
    held_bytes: int = 0
    """Of all pictures, compressed as they came."""
    content: bytes = b""
    """A fingerprint of keys, texts and sizes of pictures, in their order, wherever they lie."""
    _ids: dict[str, int] = field(default_factory=dict)

    @property
    def next_id(self) -> int:
        """The number of the next new image."""
        return self.first_id + len(self._ids)

    @classmethod
    def open(
        cls,
        patterns: Iterable[str],
        check: Check,
        first_id: int = 0,
        most_bytes: int | None = None,
    ) -> "SampleIndex":
        """Read all that patterns stand for through once; images are numbered from `first_id`.

        Raises UsageError if the pictures have more than `most_bytes` together: those of a table
        may lie outside it, and are not part of its own size.
        """
        index = cls(first_id=first_id)
        found = find_sources(patterns)
        places = Places(found)
        for place, sample in read_sources(found):
            selected = check(sample)
            if selected.fault is not None:
                index.bad.add([Fault(place.name, sample.key, selected.fault)])
            if selected.sample is None:
                continue
            index._add(selected.sample, selected.num_examples, places.identify(place, sample))
            if most_bytes is not None and index.held_bytes > most_bytes:
                raise UsageError(
                    f"the pictures of {place} are too large for memory, and only tars are "
                    f"streamed; `blip data pack {place} OUT` writes shards of it, or set "
                    "--data.stream to never to read it into memory all the same"
                )
        return index

    def _add(self, sample: Sample, count: int, identity: str) -> None:
        self.image_ids.append(self._ids.setdefault(identity, self.next_id))
        self.samples.append(sample)
        self.starts.append(self.size)
        self.size += count
        sizes = [*map(len, (sample.image or b"", *sample.more_images))]
        self.held_bytes += sum(sizes)
        described = repr((sample.key, sample.texts, sample.meta, sizes)).encode("utf-8", "replace")
        self.content = blake2b(self.content + described, digest_size=16).digest()

    def locate(self, example: int) -> tuple[int, int]:
        """The sample that holds an example, and the example's number within it."""
        sample = bisect_right(self.starts, example) - 1
        return sample, example - self.starts[sample]
