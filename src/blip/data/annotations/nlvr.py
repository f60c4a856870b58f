"""Files of statements about two images: NLVR2's official lines, BLIP's lists, tables of pairs."""

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from blip.config.strict import load_json
from blip.data.annotations.content_store import ContentStore, StoredContent
from blip.data.annotations.entries import find_entry_fault
from blip.data.annotations.head import head_names
from blip.data.annotations.pictures import Pictures, open_pictures
from blip.data.keys import storable, with_safe_keys
from blip.data.readers.chosen import choose, read_alone
from blip.data.readers.delimited import Row, read_json_lines
from blip.data.readers.folders import extension_of
from blip.data.readers.parquet import open_described, read_parquet
from blip.data.sample import IMAGE_KEY, Sample
from blip.data.statements import (
    SENTENCES,
    STATEMENTS,
    BrokenStatementError,
    PairStatement,
    read_statement,
    split_of,
)
from blip.data.texts import first_given, list_names, open_text
from blip.errors import UsageError

FORMS = (
    'NLVR2\'s lines {"identifier", "sentence", "label"}, BLIP\'s list of {"images": [left, right], '
    '"sentence", "label"}, lines, lists or Parquet tables with "sentence", "label", "left", "right"'
)
SIDES = (("left", "left_image"), ("right", "right_image"))
"""Where an entry may hold its pictures: their bytes or their paths."""
FIRST_EDITION = "structured_rep"
"""What the lines of NLVR of 2017 hold, whose statements are about one picture."""
OF_PAIRS = (*SIDES[0], *SIDES[1], "left_url", "images", FIRST_EDITION)
"""Names of which an entry about a pair has one."""
DUPLICATE = "duplicate_identifier"
FIRST = 100
"""Entries among which one must be sound."""
_OFFICIAL = re.compile(r"(.+)-[^-]+")
"""An official identifier: that of the pair, and the number of the statement."""
_OF_IMAGE = re.compile(r"-img[01]$")

Picture = str | bytes
"""The path of a picture, or its content."""
Kept = str | StoredContent
"""The path of a picture, or where its content is kept."""


@dataclass(slots=True)
class StatedPair:
    """A pair of images of a file with its statements, or an entry that cannot be used."""

    key: str
    pictures: tuple[Kept, Kept] | None
    statements: list[PairStatement] = field(default_factory=list)
    fault: str | None = None


class _Entry(NamedTuple):
    """A statement of a file, or what is wrong with it."""

    name: str
    pictures: tuple[Picture, Picture] | None
    statement: PairStatement | None
    fault: str | None = None


def holds_statements(path: Path) -> bool:
    """Whether a file makes statements about pairs, so that `read_statements` reads it."""
    if path.suffix.lower() == ".parquet":
        try:
            return _fits(dict.fromkeys(open_described(path).schema_arrow.names, ""))
        except UsageError:
            return False
    if not head_names(path, SENTENCES) or not head_names(path, OF_PAIRS):
        return False
    try:
        return _fits(_first(path))
    except (UsageError, UnicodeDecodeError):
        return False


def read_statements(
    path: Path,
    images: Path | None = None,
    split: str | None = None,
    start: int = 0,
    stop: int | None = None,
) -> Iterator[Sample]:
    """A sample for each pair of images of a file, in the order of their first statements.

    The left image is the sample's `image`, the right one its only further image; the statements
    stand in `meta` (`data/statements.py`). `images` is the folder in or below which the pictures
    lie, by default the file's own. `split` chooses among entries, by their own or by the start of
    their identifiers. Of the samples `start` to `stop` alone, where given. A statement that is
    broken, or whose identifier came before, is a sample with `error`, and so is a pair without both
    pictures. Raises UsageError for a file in another form.
    """
    chosen = islice(list_stated(path, split, keep=True), start, stop)
    pictures = open_pictures(path, images)
    yield from with_safe_keys(_samples(chosen, pictures, path.stem), "pair", start)


def read_statements_at(
    path: Path, images: Path | None, split: str | None, numbers: Collection[int]
) -> Iterator[tuple[int, Sample]]:
    """Some samples with their numbers, each as `read_statements` reads it alone."""
    chosen = choose(enumerate(list_stated(path, split, keep=True)), numbers)
    pictures = open_pictures(path, images)
    return read_alone(chosen, partial(_samples, pictures=pictures, place=path.stem), "pair")


def list_stated(path: Path, split: str | None = None, *, keep: bool = False) -> list[StatedPair]:
    """What a file states of each pair; raises as `read_statements` does.

    Pictures that the file itself holds are put in a `ContentStore`, each once, where `keep` says
    so; else their digests, which tell the pairs apart, stand in their places.
    """
    entries = _of_split(_read_entries(path), split, path)
    pairs: list[StatedPair] = []
    of_pictures: dict[tuple[str, str], StatedPair] = {}
    known: set[str] = set()
    kept, store = dict[str, Kept](), ContentStore("pictures")
    for entry in entries:
        statement = entry.statement
        identifier = None if statement is None else statement.identifier
        fault = find_entry_fault(
            identifier, known, entry.fault, shown=entry.pictures is not None, duplicate=DUPLICATE
        )
        if statement is None or entry.pictures is None or fault is not None:
            pairs.append(StatedPair(entry.name, None, fault=fault))
            continue
        left, right = map(_identify, entry.pictures)
        pair = of_pictures.get((left, right))
        if pair is None:
            for name, picture in zip((left, right), entry.pictures, strict=True):
                if name not in kept:
                    kept[name] = (
                        name if isinstance(picture, str) or not keep else store.add(picture)
                    )
            pair = of_pictures[left, right] = StatedPair(entry.name, (kept[left], kept[right]))
            pairs.append(pair)
        pair.statements.append(statement)
    return pairs


def _identify(picture: Picture) -> str:
    return picture if isinstance(picture, str) else hashlib.blake2b(picture).hexdigest()


def _samples(chosen: Iterable[StatedPair], pictures: Pictures, place: str) -> Iterator[Sample]:
    for pair in chosen:
        key = storable(pair.key)
        if pair.pictures is None:
            yield Sample(key, None, error=pair.fault)
            continue
        read = [
            pictures.read(given)[0] if isinstance(given, str) else given.read()
            for given in pair.pictures
        ]
        lost = [
            str(given)
            for given, content in zip(pair.pictures, read, strict=True)
            if content is None
        ]
        meta = {
            IMAGE_KEY: f"{place}/{key}",
            STATEMENTS: [statement.to_json() for statement in pair.statements],
        }
        left, right = read
        if left is None or right is None:
            yield Sample(key, None, (), meta, f"missing_image: {', '.join(lost)}")
        else:
            yield Sample(key, left, (), meta, None, extension_of(left), (right,))


def _read_entries(path: Path) -> Iterator[_Entry]:
    if path.suffix.lower() == ".parquet":
        rows = (row for _, row in read_parquet(path, 0, None))
        first = dict.fromkeys(open_described(path).schema_arrow.names, "")
    elif _is_list(path):
        entries = load_json(path)
        rows = (Row(one) if isinstance(one, dict) else Row({}, _NO_OBJECT) for one in entries)
        first = _first(path)
    else:
        rows, first = read_json_lines(path), _first(path)
    if FIRST_EDITION in first:
        raise UsageError(
            f"{path} is of NLVR's first edition (2017), whose statements are about one picture; "
            "NLVR2's are about a left and a right one"
        )
    if not _fits(first):
        raise UsageError(f"{path} makes no statements that can be read; allowed: {FORMS}")
    return (_entry(row, number, path.stem) for number, row in enumerate(rows))


_NO_OBJECT = "broken_statement: no JSON object"


def _first(path: Path) -> dict[str, Any]:
    """The first JSON object of a file; empty where there is none among its first entries."""
    entries = load_json(path) if _is_list(path) else (row.cells for row in read_json_lines(path))
    return next((one for one in islice(entries, FIRST) if isinstance(one, dict) and one), {})


def _is_list(path: Path) -> bool:
    with open_text(path) as file:
        return file.read(64).lstrip("\ufeff \t\r\n").startswith("[")


def _fits(entry: dict[str, Any]) -> bool:
    """Whether such an entry, or such columns, make a statement about pictures."""
    if not any(name in entry for name in SENTENCES):
        return False
    if FIRST_EDITION in entry or "left_url" in entry or _pair(entry.get("images")) is not None:
        return True
    return all(any(name in entry for name in names) for names in SIDES)


def _entry(row: Row, number: int, place: str) -> _Entry:
    name = f"entry {number}"
    if row.fault is not None:
        return _Entry(f"entry-{number}", None, None, row.fault)
    try:
        statement = read_statement(row.cells, name, f"{place}-{number}")
    except BrokenStatementError as broken:
        return _Entry(f"entry-{number}", None, None, str(broken))
    pictures = _pictures(row.cells, statement.identifier)
    return _Entry(_name(pictures, statement.identifier), pictures, statement)


def _pictures(entry: dict[str, Any], identifier: str) -> tuple[Picture, Picture] | None:
    """The left and the right picture that an entry names or holds; None where one is missing."""
    given = first_given(entry, ("images",))
    if given is None:
        given = [first_given(entry, names) for names in SIDES]
    if given == [None, None] and not any(name in entry for names in SIDES for name in names):
        official = _OFFICIAL.fullmatch(identifier)
        return None if official is None else (f"{official[1]}-img0.png", f"{official[1]}-img1.png")
    return _pair([_content(value) for value in given] if isinstance(given, list) else None)


def _pair(given: Any) -> tuple[Picture, Picture] | None:
    if not isinstance(given, list) or len(given) != 2 or not all(given):
        return None
    left, right = given
    sound = isinstance(left, str | bytes) and isinstance(right, str | bytes)
    return (left, right) if sound else None


def _content(value: Any) -> Any:
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    return None if isinstance(value, str) and (not value.strip() or "\0" in value) else value


def _name(pictures: tuple[Picture, Picture] | None, identifier: str) -> str:
    """What a pair is called: after its left picture if that has an official name."""
    if pictures is None or isinstance(pictures[0], bytes):
        return identifier
    stem = Path(pictures[0]).stem
    return _OF_IMAGE.sub("", stem) if _OF_IMAGE.search(stem) else identifier


def _of_split(entries: Iterator[_Entry], split: str | None, path: Path) -> Iterator[_Entry]:
    """The entries of a split; raises UsageError if there are none, naming the splits there are.

    Broken entries belong to none.
    """
    there: dict[str, None] = {}
    for entry in entries:
        if split is None:
            yield entry
            continue
        own = "" if entry.statement is None else split_of(entry.statement)
        there.setdefault(own)
        if own == split:
            yield entry
    if split is not None and split not in there:
        names = list_names(sorted(filter(None, there))) or "none"
        raise UsageError(f"--split {split}: {path} has the splits {names}")
