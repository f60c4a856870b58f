"""How well CapFilt did, against planted labels that it never saw."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from blip.capfilt.ledger import read_rows
from blip.data.scenes.check import judge
from blip.data.scenes.scene import Scene
from blip.data.shards import expand, read_shard
from blip.metrics.classification import precision_recall


def measure_capfilt(ledger: Path, web: Iterable[str]) -> dict[str, Any]:
    """Counts of kept and dropped texts; precision and recall of the filter; share of true captions.

    Web texts are compared with `truth.matches` of their KEY.json, synthetic ones with its `scene`;
    what cannot be compared is None. `prevalence` is the precision that keeping everything has.
    """
    metas = {s.key: s.meta for shard in expand(web) for s in read_shard(shard)}
    rows = list(read_rows(sorted(ledger.glob("*.parquet"))))
    of_web = [row for row in rows if row["source"] == "web"]
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


def _filter_quality(rows: list[dict[str, Any]], metas: dict[str, Any]) -> dict[str, Any]:
    labelled = [row for row in rows if "truth" in metas.get(row["key"], {})]
    if not labelled:
        return {"filter_precision": None, "filter_recall": None, "prevalence": None}
    kept = np.array([row["kept"] for row in labelled])
    right = np.array([bool(metas[row["key"]]["truth"]["matches"]) for row in labelled])
    quality = precision_recall(kept, right)
    by_kind: dict[str, list[bool]] = defaultdict(list)
    for row, is_right in zip(labelled, right, strict=True):
        noise = metas[row["key"]]["truth"].get("noise")
        if not is_right:
            by_kind[noise or "untouched"].append(row["kept"])
    return {
        "filter_precision": quality["precision"],
        "filter_recall": quality["recall"],
        "prevalence": float(right.mean()),
        "kept_of_noise": {
            kind: {"texts": len(kepts), "kept": sum(kepts)}
            for kind, kepts in sorted(by_kind.items())
        },
    }


def _caption_quality(rows: list[dict[str, Any]], metas: dict[str, Any]) -> dict[str, Any]:
    judged = [
        (row["kept"], judge(row["text"], Scene.from_json(metas[row["key"]]["scene"])).correct)
        for row in rows
        if "scene" in metas.get(row["key"], {})
    ]
    if not judged:
        return {"synthetic_correct_before": None, "synthetic_correct_after": None}
    after = [correct for kept, correct in judged if kept]
    return {
        "synthetic_correct_before": sum(correct for _, correct in judged) / len(judged),
        "synthetic_correct_after": sum(after) / len(after) if after else None,
    }
