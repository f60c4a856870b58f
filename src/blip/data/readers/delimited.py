"""Rows of CSV, TSV and JSON lines; a row that cannot be read is named and costs no other."""

import csv
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from blip.data.readers.image_files import IMAGE_EXTENSIONS
from blip.data.texts import TEXT_LIMIT, list_names, open_text
from blip.errors import UsageError
from blip.files import parse_json
from blip.log import printable, say_once

DELIMITERS = (",", ";", "\t")
"""Of a CSV file; Excel writes semicolons where the comma is the decimal point."""
BROKEN_ROW = "broken_row"
_SEPARATOR = re.compile(r'"?sep=([^"\w])"?', re.IGNORECASE)
"""What Excel reads and writes above a header, to say what stands between the cells."""
csv.field_size_limit(1 << 30)


class Row(NamedTuple):
    """A row of a table by its columns, or what is wrong with it."""

    cells: dict[str, Any]
    fault: str | None = None


def read_json_lines(path: Path) -> Iterator[Row]:
    """A row for every line that is not blank; one that holds no JSON object is broken."""
    try:
        for line in _lines(path):
            if line.strip():
                yield read_json_line(line)
    except UnicodeDecodeError as error:
        yield _undecoded(error)


def read_delimited(
    path: Path, fits: Callable[[list[str]], bool]
) -> tuple[list[str], Iterator[Row]]:
    """The header and the rows of a CSV file, or of a TSV file, which has no quoting.

    The delimiter of a .csv or .txt file is the one of a line `sep=;`, as Excel reads it, above the
    header, else the first for which the columns of the header fit. Raises UsageError for an empty
    file.
    """
    lines = _lines(path)
    try:
        first = next((line for line in lines if line.strip()), "")
        chosen = None if path.suffix.lower() == ".tsv" else _SEPARATOR.fullmatch(_bare(first))
        if chosen is not None:
            first = next((line for line in lines if line.strip()), "")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not {error.encoding.upper()}, as its byte order mark says; save it as UTF-8"
        ) from error
    if "\0" in first:
        raise UsageError(f"{path} has NUL characters in its header; save it as UTF-8")
    delimiter, quoted = "\t", False
    if path.suffix.lower() != ".tsv":
        marks = DELIMITERS if chosen is None else (chosen[1],)
        headers = {mark: _header(_split(first, mark, True)) for mark in marks}
        delimiter = next((mark for mark, names in headers.items() if fits(names)), marks[0])
        quoted = path.suffix.lower() == ".csv" or delimiter != "\t"
    names = _header(_split(first, delimiter, quoted))
    if not any(names):
        raise UsageError(f"{path} has no header; allowed: one line with the names of the columns")
    return names, _rows(lines, names, delimiter, quoted, path)


def say_repeated(names: Iterable[str], path: Path) -> None:
    """Say which names more than one column of a table has; all readers take the first of these."""
    again = [name for name, count in Counter(names).items() if name and count > 1]
    if again:
        say_once(
            f"{printable(path)} has more than one column {list_names(again)}; the first one is read"
        )


def _rows(
    lines: Iterator[str], names: list[str], delimiter: str, quoted: bool, path: Path
) -> Iterator[Row]:
    say_repeated(names, path)
    records = (
        _csv_rows(lines, delimiter, len(names))
        if quoted
        else (_split(line, delimiter, quoted) for line in lines if line.strip())
    )
    try:
        for cells in records:
            yield _delimited_row(names, cells)
    except UnicodeDecodeError as error:
        yield _undecoded(error)


def _delimited_row(names: list[str], cells: list[str] | None) -> Row:
    if cells is None:
        return Row({}, f"{BROKEN_ROW}: a quote is not closed")
    if len(cells) > len(names) and any(cell.strip() for cell in cells[len(names) :]):
        return Row({}, f"{BROKEN_ROW}: {len(cells)} cells, and {len(names)} columns")
    row = dict(zip(names, cells, strict=False))
    if len(row) < min(len(names), len(cells)):
        # The first of two columns of one name counts.
        row |= dict(reversed(list(zip(names, cells, strict=False))))
    return Row(row)


def read_json_line(line: str) -> Row:
    """The row of a line; a blank one, and one that holds no JSON object, is broken."""
    try:
        cells = parse_json(line)
    except ValueError:
        return Row({}, f"{BROKEN_ROW}: not JSON")
    return Row(cells) if isinstance(cells, dict) else Row({}, f"{BROKEN_ROW}: not an object")


def _undecoded(error: UnicodeDecodeError) -> Row:
    """A broken row for the rest of a file that is not in the encoding of its byte order mark."""
    return Row({}, f"{BROKEN_ROW}: not {error.encoding.upper()} from here on")


def _csv_rows(
    lines: Iterator[str], delimiter: str, columns: int | None = None
) -> Iterator[list[str] | None]:
    """The cells of each row; None for a line with a quote that no other closes."""
    source = _Lines(lines)
    for line in source:
        if not line.strip():
            continue
        if '"' not in line:
            yield _bare(line).split(delimiter)
            continue
        cells = next(csv.reader((f"{_bare(line)}\n",), delimiter=delimiter))
        # A quote that is open takes in the end of the line.
        open_quote = cells[-1].endswith("\n")
        yield _across_lines(line, cells, source, delimiter, columns) if open_quote else cells


def _across_lines(
    first: str, opened: list[str], source: "_Lines", delimiter: str, columns: int | None
) -> list[str] | None:
    """The cells of a row whose quoted cell, the last of `opened`, goes on in the next lines.

    None where it cannot be; then the next lines are rows of their own. So they are where one of
    them looks like a row: an opening quote too many may be closed by another far below.
    """
    taken: list[str] = []

    def feed() -> Iterator[str]:
        yield first
        size = len(first)
        for line in source:
            taken.append(line)
            yield line
            size += len(line)
            if size > TEXT_LIMIT:
                return

    try:
        cells = next(csv.reader(feed(), delimiter=delimiter, strict=True))
    except csv.Error:
        cells = None
    fits = cells is not None and columns in (None, len(cells))
    in_quotes = opened[-1].split(delimiter)
    first_is_row = len(opened) - 1 + len(in_quotes) == columns and _name_picture(in_quotes)
    if not fits or first_is_row or any(_is_row(line, delimiter, columns) for line in taken):
        source.give_back(taken)
        return None
    return cells


def _is_row(line: str, delimiter: str, columns: int | None) -> bool:
    """Whether a line that begins in a quoted cell could be a row of its own.

    Such a line has as many cells as there are columns, and names a picture before the quote that
    closes the cell. After that quote the row continues in which the cell began.
    """
    cells = next(csv.reader([line], delimiter=delimiter), [])
    closing = re.search(r'(?<!")(?:"")*"(?!")', line)
    in_quotes = line if closing is None else line[: closing.end() - 1]
    return len(cells) == columns and _name_picture(in_quotes.split(delimiter))


def _name_picture(cells: list[str]) -> bool:
    endings = tuple(f".{extension}" for extension in IMAGE_EXTENSIONS)
    return any(cell.strip(' "\r\n').lower().endswith(endings) for cell in cells)


class _Lines:
    """An iterator over lines that takes lines back."""

    def __init__(self, lines: Iterator[str]) -> None:
        self.lines, self.back = lines, deque[str]()

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        return self.back.popleft() if self.back else next(self.lines)

    def give_back(self, lines: Sequence[str]) -> None:
        self.back.extendleft(reversed(lines))


def _lines(path: Path) -> Iterator[str]:
    with open_text(path) as file:
        yield from file


def _split(line: str, delimiter: str, quoted: bool) -> list[str]:
    if quoted:
        return next(_csv_rows(iter([line]), delimiter), None) or []
    return _bare(line).split(delimiter)


def _header(cells: list[str]) -> list[str]:
    return [cell.strip() for cell in cells]


def _bare(line: str) -> str:
    return line.rstrip("\r\n")
