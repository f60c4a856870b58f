"""NLVR2: accuracy, and consistency over the pairs of images that share a statement (Suhr 2019)."""

from collections.abc import Sequence

import numpy as np


def nlvr_scores(
    identifiers: Sequence[str], predictions: Sequence[bool], labels: Sequence[bool]
) -> dict[str, float]:
    """`accuracy` and `consistency` in per cent.

    An identifier is `SPLIT-SET-PAIR-STATEMENT`. Examples that differ in their PAIR alone have the
    same statement about other images: they are consistent where all of them are classified
    correctly. Raises ValueError for lists of different lengths and for an identifier of another
    form.
    """
    right = [a == b for a, b in zip(predictions, labels, strict=True)]
    consistent = list(find_consistent(identifiers, right).values())
    return {
        "accuracy": 100.0 * float(np.mean(right)) if right else 0.0,
        "consistency": 100.0 * float(np.mean(consistent)) if consistent else 0.0,
    }


def find_consistent(identifiers: Sequence[str], right: Sequence[bool]) -> dict[str, bool]:
    """By `statement_of` each example, whether all examples of that statement are right.

    What the consistency is the mean of. Raises ValueError as `nlvr_scores` does.
    """
    if len(identifiers) != len(right):
        raise ValueError(f"{len(identifiers)} identifiers, but {len(right)} predictions")
    found: dict[str, bool] = {}
    for identifier, is_right in zip(identifiers, right, strict=True):
        statement = statement_of(identifier)
        found[statement] = found.get(statement, True) and is_right
    return found


def statement_of(identifier: str) -> str:
    """An identifier without the number of its pair; raises ValueError if it has none."""
    parts = identifier.split("-")
    if len(parts) != 4:
        raise ValueError(
            f"identifier {identifier!r} is not of the form SPLIT-SET-PAIR-STATEMENT, "
            "such as dev-204-1-0"
        )
    return "-".join([*parts[:2], parts[3]])
