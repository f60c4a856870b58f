"""Texts with a label, right or wrong: what a filter of CapFilt is judged by."""

from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from blip.data.config import MAX_PIXELS
from blip.data.examples.usable import find_picture_fault, find_usable
from blip.data.faults import BadSamples, Fault
from blip.data.readers.parquet import open_described
from blip.data.readers.tables import read_table
from blip.errors import BlipError, UsageError
from blip.log import say
from blip.places import home_path

COLUMNS = ("match", "matches", "label", "right", "correct")
"""Columns that are taken for labels where all that stands in them is one of `WORDS`."""
WORDS = {
    **dict.fromkeys(("true", "1", "1.0", "yes", "match", "right", "correct", "good"), True),
    **dict.fromkeys(("false", "0", "0.0", "no", "mismatch", "wrong", "bad"), False),
}
"""What a label may say of its text, whatever its case."""


@dataclass(slots=True)
class LabelledPairs:
    """Pictures, each with its texts and whether they are right."""

    images: list[bytes] = field(default_factory=list)
    texts: list[list[tuple[str, bool]]] = field(default_factory=list)
    bad: BadSamples = field(default_factory=BadSamples)

    def counts(self) -> dict[str, int]:
        """How much was read: `labelled_images` and `labelled_texts`."""
        return {
            "labelled_images": len(self.images),
            "labelled_texts": sum(map(len, self.texts)),
        }


def list_columns(data: str) -> list[str]:
    """The columns of a Parquet file; none for other data."""
    if not data.lower().endswith(".parquet"):
        return []
    return open_described(home_path(data)).schema_arrow.names


def find_label(names: list[str], path: Path, column: str | None) -> str | None:
    """The column that holds the labels, the given one or one of `COLUMNS`; None without labels.

    Raises UsageError if the given one is absent or holds something else.
    """
    if column is not None and column not in names:
        raise UsageError(f"--label is {column}; {path} has the columns {', '.join(names)}")
    for name in COLUMNS if column is None else (column,):
        if name not in names:
            continue
        values = parquet.read_table(path, columns=[name]).column(0)
        odd = sorted(set(map(_spell, values.to_pylist())) - WORDS.keys() - {"none", ""})
        if not odd:
            return name
        if column is not None:
            allowed = f"one of {', '.join(WORDS)} in each row"
            raise UsageError(
                f"--label is {column}, which holds {odd[0][:40]!r}; allowed: {allowed}"
            )
    return None


def read_labelled(path: Path, column: str, max_pixels: int = MAX_PIXELS) -> LabelledPairs:
    """The rows of a table by their pictures; broken ones and those without a label are named."""
    pairs, places = LabelledPairs(), dict[bytes, int]()
    for sample in read_table(path):
        texts, reason, lost = find_usable(sample)
        label = WORDS.get(_spell(sample.meta.get(column)))
        if reason is None and sample.image is not None and sample.image not in places:
            reason = find_picture_fault(sample.image, max_pixels)
        reason = reason or ("no_label" if label is None else None)
        if fault := reason or lost:
            pairs.bad.add([Fault(path.name, sample.key, fault)])
        if reason is not None or sample.image is None or label is None:
            continue
        place = places.setdefault(sample.image, len(pairs.images))
        if place == len(pairs.images):
            pairs.images.append(sample.image)
            pairs.texts.append([])
        pairs.texts[place] += [(text, label) for text in texts]
    if pairs.bad:
        say(f"left out: {pairs.bad.describe()}")
    if not pairs.images:
        raise BlipError(f"{path}: no picture with a labelled text: {pairs.bad.describe()}")
    return pairs


def write_right(path: Path, column: str, out: Path) -> int:
    """Write the rows of a table whose texts are right into another one; returns their number."""
    table = parquet.read_table(path)
    right = [WORDS.get(_spell(value), False) for value in table.column(column).to_pylist()]
    chosen = table.filter(pa.array(right))
    parquet.write_table(chosen, out)
    return chosen.num_rows


def _spell(value: object) -> str:
    return str(value).strip().lower()
