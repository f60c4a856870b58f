"""Precision and recall of a yes-or-no decision."""


def precision_recall(both: int, chosen: int, right: int) -> dict[str, float]:
    """Share of the chosen that are right, and share of the right that are chosen, 0 to 1.

    From the numbers of items that are chosen and right, chosen, and right. If nothing is chosen
    (or right), the share is 0.
    """
    return {"precision": both / max(chosen, 1), "recall": both / max(right, 1)}
