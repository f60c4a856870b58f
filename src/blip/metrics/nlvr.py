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
    right = np.array([a == b for a, b in zip(predictions, labels, strict=True)], dtype=bool)
    if len(identifiers) != len(right):
        raise ValueError(f"{len(identifiers)} identifiers, but {len(right)} predictions")
    groups: dict[str, bool] = {}
    for identifier, is_right in zip(identifiers, right.tolist(), strict=True):
        group = statement_of(identifier)
        groups[group] = groups.get(group, True) and is_right
    return {
        "accuracy": 100.0 * float(right.mean()) if len(right) else 0.0,
        "consistency": 100.0 * float(np.mean(list(groups.values()))) if groups else 0.0,
    }


def statement_of(identifier: str) -> str:
    """An identifier without the number of its pair; raises ValueError where it has none."""
    parts = identifier.split("-")
    if len(parts) != 4:
        raise ValueError(
            f"identifier {identifier!r} is not of the form SPLIT-SET-PAIR-STATEMENT, "
            "such as dev-204-1-0"
        )
    return "-".join([*parts[:2], parts[3]])
