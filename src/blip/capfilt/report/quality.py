"""How well CapFilt did, against planted labels that it never saw."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from blip.capfilt.config import ROWS
from blip.capfilt.ledger.files import read_rows
from blip.capfilt.ledger.records import MISSING_TEXT
from blip.capfilt.shards.source import find_shards, read_samples
from blip.data.keys import storable
from blip.data.scenes.check import check_facts
from blip.data.scenes.scene import Scene
from blip.metrics.classification import precision_recall

_Metas = dict[tuple[str, str], dict[str, Any]]
"""By the name of the shard and the key in it."""


def measure_capfilt(ledger: Path, web: Iterable[str]) -> dict[str, Any]:
    """Counts of kept and dropped texts; precision and recall of the filter; share of true captions.

    Web texts are compared with `truth.matches` of their KEY.json, synthetic ones with its `scene`;
    what cannot be compared is None. `prevalence` is the precision that keeping everything has.
    """
    metas = _read_metas(web)
    rows = list(read_rows(sorted(ledger.glob("*.parquet"))))
    of_web = [r for r in rows if r["source"] == "web" and r["reason"] != MISSING_TEXT]
    synthetic = [row for row in rows if row["source"] == "synthetic"]
    return {
        "images": len({(r["shard"], r["key"]) for r in rows if r["source"] != "bad"}),
        "bad": sum(row["source"] == "bad" for row in rows),
        "web_kept": sum(row["kept"] for row in of_web),
        "web_dropped": sum(not row["kept"] for row in of_web),
        "synthetic_kept": sum(row["kept"] for row in synthetic),
        "synthetic_dropped": sum(not row["kept"] for row in synthetic),
        **_filter_quality(of_web, metas),
        **_caption_quality(synthetic, metas),
    }


def _read_metas(web: Iterable[str]) -> _Metas:
    """The KEY.json of every web image that tells what is true of it."""
    return {
        (task.name, storable(sample.key)): sample.meta
        for task in find_shards(web, ROWS, need_text=False)
        for sample in read_samples(task)
        if sample.meta.keys() & {"truth", "scene"}
    }


def _truth(metas: _Metas, row: dict[str, Any]) -> dict[str, Any] | None:
    """What was planted in a row's text; None where KEY.json does not say, or says it otherwise."""
    truth = metas.get((row["shard"], row["key"]), {}).get("truth")
    return truth if isinstance(truth, dict) and "matches" in truth else None


def _filter_quality(rows: list[dict[str, Any]], metas: _Metas) -> dict[str, Any]:
    found = [(row, _truth(metas, row)) for row in rows]
    labelled = [(row, truth) for row, truth in found if truth is not None]
    if not labelled:
        return {"filter_precision": None, "filter_recall": None, "prevalence": None}
    kept = np.array([row["kept"] for row, _ in labelled])
    right = np.array([bool(truth["matches"]) for _, truth in labelled])
    quality = precision_recall(kept, right)
    by_kind: dict[str, list[bool]] = defaultdict(list)
    for row, truth in labelled:
        if not truth["matches"]:
            by_kind[str(truth.get("noise") or "untouched")].append(row["kept"])
    return {
        "filter_precision": quality["precision"],
        "filter_recall": quality["recall"],
        "prevalence": float(right.mean()),
        "kept_of_noise": {
            kind: {"texts": len(kepts), "kept": sum(kepts)}
            for kind, kepts in sorted(by_kind.items())
        },
    }


def _caption_quality(rows: list[dict[str, Any]], metas: _Metas) -> dict[str, Any]:
    shown = [(row, Scene.of(metas.get((row["shard"], row["key"]), {}))) for row in rows]
    checked = [
        (row["kept"], check_facts(row["text"], scene).correct)
        for row, scene in shown
        if scene is not None
    ]
    if not checked:
        return {"synthetic_correct_before": None, "synthetic_correct_after": None}
    after = [correct for kept, correct in checked if kept]
    return {
        "synthetic_correct_before": sum(correct for _, correct in checked) / len(checked),
        "synthetic_correct_after": sum(after) / len(after) if after else None,
    }
