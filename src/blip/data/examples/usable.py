"""The part of a sample that training and evaluation use: its picture and its sound texts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from blip.data.captions import clean_caption
from blip.data.keys import storable
from blip.data.sample import Sample
from blip.data.texts import TEXT_FAULTS
from blip.log import printable

NAMED = 1000
"""How many bad samples are kept by name; all are counted."""
TOLD = 5
"""Bad samples that are named where people read along."""


class Usable(NamedTuple):
    """The texts of a sample that say something, and what is wrong with the rest."""

    texts: list[str]
    """As they were written; none of them is empty once it is cleaned."""
    reason: str | None
    """Why the whole sample is left out; None where it is not, as far as its picture is sound."""
    lost: str | None
    """Why some of its texts are left out, while others are sound."""


def find_usable(sample: Sample) -> Usable:
    """Sort a sample out without decoding its picture: one bad text must not cost the others."""
    texts = [text for text in sample.texts if clean_caption(text)]
    if sample.image is None:
        return Usable(texts, sample.error or "missing_image", None)
    if sample.error is None:
        return Usable(texts, None if texts else "empty_caption", None)
    if texts and sample.error.partition(":")[0] in TEXT_FAULTS:
        return Usable(texts, None, sample.error)
    return Usable(texts, sample.error, None)


def note_bad(
    bad: Counter[str], samples: list[tuple[str, str, str]], shard: str, key: str, reason: str
) -> None:
    """Count a bad sample by its reason, without details; the first ones are kept by name."""
    bad[reason.partition(":")[0]] += 1
    if len(samples) < NAMED:
        samples.append((storable(shard), storable(key), storable(reason)))


def describe_counts(counts: Mapping[str, int]) -> str:
    """Each reason and its number, sorted: "broken_image 2, missing_text 1"."""
    return ", ".join(f"{reason} {count}" for reason, count in sorted(counts.items()))


def describe_left_out(bad: Counter[str], samples: Sequence[tuple[str, str, str]]) -> str:
    """How many of each reason, and the first (shard, key, reason); empty where there is nothing."""
    counts = describe_counts(bad)
    named = [printable(" ".join(filter(None, sample))) for sample in samples[:TOLD]]
    more = ", ..." if bad.total() > len(named) else ""
    return f"{counts} ({', '.join(named)}{more})" if named else counts
