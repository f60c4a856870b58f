"""What is wrong with samples: all are counted by their reason, the first ones named."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from blip.data.keys import storable
from blip.errors import BlipError
from blip.log import printable

NAMED = 1000
"""How many bad samples are kept by name; all are counted."""
SHOWN = 5
"""Bad samples that a message on the terminal names."""


class BadSampleError(BlipError):
    """A sample cannot be used; the message is a short reason, with details after a colon."""

    @property
    def in_words(self) -> str:
        """The reason as people read it, such as `not an image`."""
        return str(self).replace("_", " ")


class Fault(NamedTuple):
    """What is wrong with a sample, or with a shard where `key` is empty."""

    shard: str
    key: str
    reason: str

    @property
    def kind(self) -> str:
        """The reason without its details."""
        return self.reason.partition(":")[0]


@dataclass(slots=True)
class BadSamples:
    """Counts faults by kind and keeps the first ones."""

    counts: Counter[str] = field(default_factory=Counter)
    first: list[Fault] = field(default_factory=list)
    """At most `NAMED`, in names that files in UTF-8 keep."""
    lost: Counter[str] = field(default_factory=Counter)
    """What is left out with a picture or a video, such as `questions_without_image`."""

    def add(self, faults: Iterable[Fault]) -> None:
        """Count some faults."""
        for fault in faults:
            self.counts[fault.kind] += 1
            if len(self.first) < NAMED:
                self.first.append(Fault(*map(storable, fault)))

    def lose(self, name: str, count: int) -> None:
        """Count what is left out with a picture or a video."""
        if count:
            self.lost[name] += count

    def update(self, others: "BadSamples") -> None:
        """Count what others have counted."""
        self.counts += others.counts
        self.lost += others.lost
        self.first += others.first[: NAMED - len(self.first)]

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.counts)

    def describe(self) -> str:
        """How many of each kind, and the first with their reasons; empty where there are none."""
        counts = describe_counts(self.counts)
        named = [printable(" ".join(filter(None, fault))) for fault in self.first[:SHOWN]]
        more = ", ..." if self.counts.total() > len(named) else ""
        return f"{counts} ({', '.join(named)}{more})" if named else counts


def describe_counts(counts: Mapping[str, int]) -> str:
    """Each reason and its number, sorted: "broken_image 2, missing_text 1"."""
    return ", ".join(f"{reason} {count}" for reason, count in sorted(counts.items()))
