"""Labels of alt texts of the web, by the keys of their pictures."""

import csv
from pathlib import Path

TABLE = Path(__file__).with_name("labels.csv")
WORDS = ("right", "poor", "wrong")


def read_table(path: Path = TABLE) -> dict[str, str]:
    """From key to label; the rule is in README.md."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    labels = {row["key"]: row["label"] for row in rows}
    if len(labels) != len(rows) or set(labels.values()) - set(WORDS):
        raise ValueError(f"{path}: each key once, with one of {', '.join(WORDS)}")
    return labels
