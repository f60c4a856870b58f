"""Statements about two images: how samples hold them, and how one is cleaned before it is read."""

import re
from dataclasses import dataclass
from typing import Any

from blip.data.captions import clean_caption
from blip.data.texts import first_given, is_missing, without_point
from blip.files import is_utf8

STATEMENTS = "statements"
"""Where they stand in `meta`, and so in KEY.json."""
BROKEN_STATEMENT, BROKEN_LABEL = "broken_statement", "broken_label"
IDENTIFIERS = ("identifier", "id", "uid")
SENTENCES = ("sentence", "statement", "text")
MAX_WORDS = 40
"""As the original release cuts statements."""
_OFFICIAL = re.compile(r"([A-Za-z]+\d*)-\w+-\d+-\d+")
_LABELS = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}


class BrokenStatementError(ValueError):
    """An entry of a file is no statement; the message is a short reason, with details."""


@dataclass(frozen=True, slots=True)
class PairStatement:
    """A statement about a left and a right image, and whether it is true."""

    identifier: str
    """NLVR2's are SPLIT-SET-PAIR-STATEMENT; without one a number, which others may have as well."""
    text: str
    label: bool | None = None
    """None where it is withheld, as in a test split."""
    split: str = ""
    is_named: bool = True
    """Whether `identifier` stands in the data."""

    def to_json(self) -> dict[str, Any]:
        """As it stands in the list `STATEMENTS` of a sample's `meta`, and so in KEY.json."""
        name = {"identifier": self.identifier} if self.is_named else {}
        label = {} if self.label is None else {"label": self.label}
        split = {"split": self.split} if self.split else {}
        return {**name, "text": self.text, **label, **split}


def is_official(identifier: str) -> bool:
    """Whether an identifier is of the form SPLIT-SET-PAIR-STATEMENT."""
    return _OFFICIAL.fullmatch(identifier) is not None


def split_of(statement: PairStatement) -> str:
    """The split of a statement: its own, or the one with which its official identifier starts."""
    official = _OFFICIAL.fullmatch(statement.identifier)
    return statement.split or ("" if official is None else official[1])


def clean_statement(text: str) -> str:
    """As a caption is cleaned, cut to `MAX_WORDS` words; the result may be empty."""
    return clean_caption(text, MAX_WORDS)


def statements_of(meta: dict[str, Any]) -> tuple[list[PairStatement], str | None]:
    """The statements in the `meta` of a sample, and what is wrong with the first broken one.

    A statement needs no identifier: its number in the sample stands for one.
    """
    found: list[PairStatement] = []
    fault: str | None = None
    entries = meta.get(STATEMENTS)
    for number, entry in enumerate(entries if isinstance(entries, list) else []):
        try:
            found.append(read_statement(entry, f"statement {number}", str(number)))
        except BrokenStatementError as broken:
            fault = fault or str(broken)
    return found, fault


def read_statement(entry: Any, name: str, identifier: str) -> PairStatement:
    """A statement of an annotation file or of KEY.json, called `name` in messages.

    `identifier` is for an entry without one. Raises BrokenStatementError for an entry without a
    text, and for a label that is neither true nor false.
    """
    if not isinstance(entry, dict):
        raise BrokenStatementError(f"{BROKEN_STATEMENT}: {name} is no JSON object")
    given = {key: entry.get(key) for key in IDENTIFIERS if entry.get(key) != ""}
    own = without_point(first_given(given, IDENTIFIERS))
    is_named = isinstance(own, str | int) and not isinstance(own, bool)
    if is_named:
        identifier = name = str(own)
    text = first_given(entry, SENTENCES)
    if not isinstance(text, str) or not is_utf8(text):
        raise BrokenStatementError(f"{BROKEN_STATEMENT}: {name} has no text as its sentence")
    split = entry.get("split")
    return PairStatement(
        identifier,
        text.strip(),
        _read_label(entry, name),
        split if isinstance(split, str) else "",
        is_named,
    )


def _read_label(entry: dict[str, Any], name: str) -> bool | None:
    value = without_point(entry.get("label"))
    if is_missing(value) or value == "":
        return None
    label = _LABELS.get(str(value).strip().lower())
    if label is None:
        raise BrokenStatementError(f"{BROKEN_LABEL}: {name} has {value!r:.40}")
    return label
