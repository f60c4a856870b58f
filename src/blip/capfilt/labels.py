"""Labelled pairs, and the ledger's scores of them."""

import csv
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from blip.capfilt.ledger import read_groups
from blip.config.strict import parse_json
from blip.errors import BlipError, UsageError, first_line

KINDS = (".csv", ".tsv", ".jsonl", ".parquet")
TRUE, FALSE = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no")
COLUMNS = ("shard", "key", "source", "number", "text", "itm_score", "itc_cosine")


@dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """What somebody says of a text: by its words, or by its source and number."""

    key: str
    match: bool
    text: str | None = None
    source: str | None = None
    number: int | None = None
    """Which text of its source; none is any where the words are told, otherwise the first."""
    shard: str | None = None

    def fits(self, row: Mapping[str, Any]) -> bool:
        """Whether a row of the ledger is the text that is meant."""
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
    """Labels and scores brought together."""

    texts: list[Scored] = field(default_factory=list)
    missing: list[Label] = field(default_factory=list)
    """Labels of texts that the ledger does not have."""
    unscored: int = 0
    """Labelled texts that were never scored: no threshold keeps them."""


def read_labels(path: Path) -> list[Label]:
    """Labels of a CSV, TSV, JSONL or Parquet file with the columns key, match, and text or source.

    Columns `number` (which text of its source; 0 unless given, any where `text` is) and `shard`
    (where keys repeat) are optional. Raises UsageError naming the row that cannot be read.
    """
    if not path.is_file():
        raise UsageError(f"no labels at {path}")
    if path.suffix.lower() not in KINDS:
        raise UsageError(f"labels must be {', '.join(KINDS)}, got {path}")
    try:
        labels = [_label(row, f"{path}, row {n}") for n, row in enumerate(_rows(path), start=1)]
    except (OSError, UnicodeDecodeError, pa.ArrowInvalid, csv.Error) as error:
        raise UsageError(f"{path} cannot be read: {first_line(error)}") from error
    if not labels:
        raise UsageError(f"{path} holds no labels")
    return labels


def find_scores(ledgers: Iterable[Path], labels: Iterable[Label]) -> Labelled:
    """The scores of the labelled texts, a row group in memory at a time.

    Where an image has several equal texts, the first is meant. Raises BlipError where a label
    fits texts of two shards, or two labels of the same text differ.
    """
    of_key: dict[str, list[Label]] = defaultdict(list)
    for label in labels:
        of_key[label.key].append(label)
    keys = pa.array(list(of_key), pa.string())
    found, shards, said = Labelled(), dict[Label, str](), dict[tuple[Any, ...], bool]()
    for path in ledgers:
        for group in read_groups(path, COLUMNS):
            wanted = group.filter(pc.field("key").isin(keys))
            for row in wanted.to_pylist():
                for label in of_key[row["key"]]:
                    if not label.fits(row):
                        continue
                    if shards.get(label, row["shard"]) != row["shard"]:
                        raise BlipError(
                            f"key {label.key!r} is in the shards {shards[label]} and "
                            f"{row['shard']}; add a column `shard` to the labels"
                        )
                    if label not in shards:
                        _take(found, row, label, said)
                    shards[label] = row["shard"]
    found.missing = [label for of in of_key.values() for label in of if label not in shards]
    return found


def _take(
    found: Labelled, row: dict[str, Any], label: Label, said: dict[tuple[Any, ...], bool]
) -> None:
    place = (row["shard"], row["key"], row["source"], row["number"])
    if place in said:
        if said[place] != label.match:
            raise BlipError(f"two labels of the text {row['text'][:80]!r} of {row['key']} differ")
        return
    said[place] = label.match
    if row["itm_score"] is None:
        found.unscored += 1
        return
    found.texts.append(Scored(row["source"], label.match, row["itm_score"], row["itc_cosine"]))


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    match path.suffix.lower():
        case ".parquet":
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches():
                    yield from batch.to_pylist()
        case ".jsonl":
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
                if line.strip():
                    yield _object(line, f"{path}, line {number}")
        case suffix:
            with path.open(encoding="utf-8-sig", newline="") as file:
                yield from csv.DictReader(file, delimiter="\t" if suffix == ".tsv" else ",")


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        value = parse_json(line)
    except ValueError as error:
        raise UsageError(f"{where} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise UsageError(f"{where} must be a JSON object, got {line[:80]}")
    return value


def _label(row: dict[str, Any], where: str) -> Label:
    given = {name: value for name, value in row.items() if value not in (None, "")}
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
