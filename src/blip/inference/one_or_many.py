"""Pictures and texts as they are given, one or many, and results in the same form."""

from collections.abc import Iterable
from typing import TypeVar

from blip.inference.pixels import Picture

Images = Picture | Iterable[Picture]
"""One picture or many; an array or tensor of four dimensions holds many."""
Texts = str | Iterable[str]
"""One text or many."""

Result = TypeVar("Result")


def first_or_all(results: list[Result], is_one: bool) -> Result | list[Result]:
    """The single result if one item was given, else the list."""
    return results[0] if is_one else results


def in_shape(
    rows: list[list[Result]], one_picture: bool, one_text: bool
) -> Result | list[Result] | list[list[Result]]:
    """The results, a row for each picture, without the dimension of a single picture or text."""
    if one_picture:
        return first_or_all(rows[0], one_text)
    return [row[0] for row in rows] if one_text else rows
