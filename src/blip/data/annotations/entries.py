"""Entries of an annotation file, each a question or a statement: which of them can be used."""

from typing import TypeVar

Identifier = TypeVar("Identifier", bound=str | int)


def find_entry_fault(
    identifier: Identifier | None,
    known: set[Identifier],
    fault: str | None,
    *,
    shown: bool,
    duplicate: str,
) -> str | None:
    """What is wrong with an entry; the identifier of a sound one joins the `known` ones.

    An identifier that came before is a `duplicate`. Without one something else is wrong, which
    `fault` says; an entry that names no picture is not `shown`.
    """
    if identifier is not None and identifier in known:
        return f"{duplicate}: {identifier}"
    if identifier is None or not shown or fault is not None:
        return fault or "missing_image"
    known.add(identifier)
    return None
