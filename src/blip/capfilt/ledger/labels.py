"""Labelled pairs, and the ledger's scores of them."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from blip.capfilt.ledger.files import read_groups
from blip.data.keys import key_text
from blip.data.readers.delimited import Row, read_delimited, read_json_lines
from blip.data.readers.parquet import read_parquet
from blip.data.texts import is_missing, without_point
from blip.errors import BlipError, UsageError, first_line
from blip.files import is_utf8

KINDS = (".csv", ".tsv", ".jsonl", ".parquet")
TRUE, FALSE = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no")
COLUMNS = ("shard", "key", "source", "number", "text", "itm_score", "itc_cosine")


@dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """A person's label of a text, named by its words, or by its source and number."""

    key: str
    match: bool
    text: str | None = None
    source: str | None = None
    number: int | None = None
    """Which text of its source; by default the first, or any where the label gives the text."""
    shard: str | None = None

    def fits(self, row: Mapping[str, Any]) -> bool:
        """Whether a row of the ledger is the labelled text."""
        if self.shard not in (None, row["shard"]) or row["source"] == "bad":
            return False
        if self.text is not None and self.text.strip() != row["text"]:
            return False
        if self.source is None:
            return True
        number = 0 if self.number is None and self.text is None else self.number
        return self.source == row["source"] and number in (None, row["number"])


@dataclass(frozen=True, slots=True)
class Scored:
    """A labelled text with its scores."""

    source: str
    match: bool
    itm_score: float
    itc_cosine: float


@dataclass(slots=True)
class Labelled:
    """Labels joined with the scores of the ledger."""

    texts: list[Scored] = field(default_factory=list)
    missing: list[Label] = field(default_factory=list)
    """Labels of texts that are not in the ledger."""
    unscored: int = 0
    """Labelled texts without a score: no threshold keeps them."""
    faults: list[str] = field(default_factory=list)
    """One line for each label that contradicts another or fits several texts, and for each ledger
    that cannot be read."""
    unclear: set[Label] = field(default_factory=set)
    """Labels that fit a text and are among the faults."""


def read_labels(path: Path, faults: list[str] | None = None) -> list[Label]:
    """Labels of a CSV, TSV, JSONL or Parquet file with the columns key, match, and text or source.

    Columns `number` (which text of its source; 0 unless given, any where `text` is) and `shard`
    (where keys repeat) are optional. A row that cannot be read is left out, and named in `faults`.
    Raises UsageError if the file cannot be read, or no row of it.
    """
    faults = [] if faults is None else faults
    if not path.is_file():
        raise UsageError(f"no labels at {path}")
    if path.suffix.lower() not in KINDS:
        raise UsageError(f"labels must be {', '.join(KINDS)}, got {path}")
    labels: list[Label] = []
    try:
        for number, row in enumerate(_rows(path), start=1):
            if row.fault is not None:
                faults.append(f"{path}, row {number}: {row.fault}")
                continue
            try:
                labels.append(_label(row.cells, f"{path}, row {number}"))
            except UsageError as error:
                faults.append(str(error))
    except (OSError, UnicodeDecodeError, pa.ArrowInvalid) as error:
        raise UsageError(f"{path} cannot be read: {first_line(error)}") from error
    if not labels:
        raise UsageError(faults[0] if faults else f"{path} holds no labels")
    return labels


def find_scores(ledgers: Iterable[Path], labels: Iterable[Label]) -> Labelled:
    """The scores of the labelled texts, a row group in memory at a time.

    Where an image has several equal texts, the label is for the first. A label that fits texts of
    two shards, labels of one text that differ, and a ledger that cannot be read are left out, and
    named in `faults`. Raises BlipError if nothing is left.
    """
    of_key: dict[str, list[Label]] = defaultdict(list)
    for label in labels:
        of_key[label.key].append(label)
    found, fitting = Labelled(), dict[Label, dict[str, dict[str, Any]]]()
    for path in ledgers:
        try:
            rows = _rows_of(path, of_key)
        except BlipError as error:
            found.faults.append(str(error))
            continue
        for row in rows:
            for label in of_key[row["key"]]:
                if label.fits(row):
                    fitting.setdefault(label, {}).setdefault(row["shard"], row)
    _take(found, fitting)
    if found.faults and not fitting.keys() - found.unclear:
        raise BlipError(found.faults[0])
    found.missing = [label for of in of_key.values() for label in of if label not in fitting]
    return found


def _rows_of(ledger: Path, keys: Iterable[str]) -> list[dict[str, Any]]:
    """The rows of some keys; all are read before any is used, as the file may be truncated."""
    chosen = pc.field("key").isin(pa.array(list(keys), pa.string()))
    groups = read_groups(ledger, COLUMNS)
    return [row for group in groups for row in group.filter(chosen).to_pylist()]


def _take(found: Labelled, fitting: Mapping[Label, Mapping[str, dict[str, Any]]]) -> None:
    """Join the score of each text with its labels where they agree."""
    labelled: dict[tuple[Any, ...], tuple[dict[str, Any], set[Label]]] = {}
    for label, of_shard in fitting.items():
        if len(of_shard) > 1:
            first, second = list(of_shard)[:2]
            found.unclear.add(label)
            found.faults.append(
                f"key {label.key!r} is in the shards {first} and {second}; add a column `shard` to "
                "the labels"
            )
            continue
        (row,) = of_shard.values()
        place = (row["shard"], row["key"], row["source"], row["number"])
        labelled.setdefault(place, (row, set()))[1].add(label)
    for row, labels in labelled.values():
        verdicts = {label.match for label in labels}
        if len(verdicts) > 1:
            found.unclear |= labels
            text = row["text"][:80]
            found.faults.append(f"two labels of the text {text!r} of {row['key']} differ")
        elif row["itm_score"] is None:
            found.unscored += 1
        else:
            (match,) = verdicts
            scored = Scored(row["source"], match, row["itm_score"], row["itc_cosine"])
            found.texts.append(scored)


def _rows(path: Path) -> Iterator[Row]:
    match path.suffix.lower():
        case ".parquet":
            yield from (row for _, row in read_parquet(path, 0, None))
        case ".jsonl":
            yield from read_json_lines(path)
        case _ if path.stat().st_size:
            yield from read_delimited(path, lambda names: {"key", "match"} <= set(names))[1]


def _label(row: dict[str, Any], where: str) -> Label:
    given = {
        name: without_point(value)
        for name, value in row.items()
        if not is_missing(value) and value != ""
    }
    odd = next((name for name in ("key", "text") if not is_utf8(str(given.get(name)))), None)
    if odd is not None:
        raise UsageError(f"{where}: {odd} is not UTF-8; save the file as UTF-8")
    given["key"] = key_text(given.get("key"))
    if given["key"] is None:
        del given["key"]
    if "key" not in given or "match" not in given or not given.keys() & {"text", "source"}:
        raise UsageError(
            f"{where} must have key, match, and text or source; it has {', '.join(map(str, given))}"
        )
    match, number = str(given["match"]).strip().lower(), given.get("number")
    if match not in (*TRUE, *FALSE):
        raise UsageError(f"{where}: match must be 0 or 1, got {given['match']!r}")
    if number is not None and not str(number).isdigit():
        raise UsageError(f"{where}: number must be 0, 1, ..., got {number!r}")
    source = given.get("source")
    if source not in (None, "web", "synthetic"):
        raise UsageError(f"{where}: source must be web or synthetic, got {source!r}")
    return Label(
        key=str(given["key"]),
        match=match in TRUE,
        text=None if "text" not in given else str(given["text"]),
        source=source,
        number=None if number is None else int(number),
        shard=None if "shard" not in given else str(given["shard"]),
    )
