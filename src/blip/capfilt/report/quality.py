"""How well CapFilt did, against planted labels that it never saw."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, final

import pyarrow as pa

from blip.capfilt.config import ROWS
from blip.capfilt.ledger.columns import ROWS_AT_A_TIME, count_table
from blip.capfilt.ledger.files import read_groups
from blip.capfilt.ledger.records import MISSING_TEXT, Counts
from blip.capfilt.shards.source import ShardTask, find_shards, read_samples
from blip.data.keys import storable
from blip.data.scenes.check import check_facts
from blip.data.scenes.scene import Scene
from blip.metrics.classification import precision_recall

COUNTED = ("key", "source", "kept", "reason")
COMPARED = ("shard", *COUNTED, "text")
"""Columns of the ledger that are read: where nothing was planted, and where something was."""
PLANTED = ("truth", "scene")
"""Fields of KEY.json that tell what is true of a picture and its text."""
FIRST = 100
"""Samples of each folder that are asked for these fields; where none has one, no other has."""


def measure_capfilt(ledger: Path, web: Iterable[str]) -> dict[str, Any]:
    """Counts of kept and dropped texts; precision and recall of the filter; share of true captions.

    Web texts are compared with `truth.matches` of their KEY.json, synthetic ones with its `scene`;
    what cannot be compared is None. `prevalence` is the precision that keeping everything has.
    Memory holds a row group of the ledger, and what was planted in one shard. Raises UsageError
    if `web` names nothing, OSError or BlipError if its shards or a ledger cannot be read.
    """
    planted = _Planted(find_shards(web, ROWS, need_text=False))
    counts, of_filter, of_captions = Counts(), _FilterQuality(), _CaptionQuality()
    for path in sorted(ledger.glob("*.parquet")):
        for group in read_groups(path, COMPARED if planted.tasks else COUNTED):
            counts.add(count_table(group))
            for row in _rows(group) if planted.tasks else ():
                meta = planted.of(row["shard"], row["key"])
                if row["source"] == "web" and row["reason"] != MISSING_TEXT:
                    of_filter.add(row, meta)
                elif row["source"] == "synthetic":
                    of_captions.add(row, meta)
    (web_kept, web_dropped), (kept, dropped) = map(counts.texts, ("web", "synthetic"))
    return {
        "images": counts.images - counts.images_bad,
        "bad": counts.images_bad,
        "web_kept": web_kept,
        "web_dropped": web_dropped,
        "synthetic_kept": kept,
        "synthetic_dropped": dropped,
        **of_filter.figures(),
        **of_captions.figures(),
    }


def _rows(group: pa.Table) -> Iterator[dict[str, Any]]:
    for batch in group.to_batches(max_chunksize=ROWS_AT_A_TIME):
        yield from batch.to_pylist()


@final
class _Planted:
    """Planted labels of the web images, read from their KEY.json shard by shard."""

    def __init__(self, tasks: Iterable[ShardTask]) -> None:
        of_folder: dict[str, list[ShardTask]] = defaultdict(list)
        for task in tasks:
            of_folder[os.path.dirname(task.path)].append(task)
        self.tasks = {
            task.name: task for some in of_folder.values() if _tells(some) for task in some
        }
        """Shards of the folders in which something was planted, by their names."""
        self._shard = ""
        self._metas: dict[str, dict[str, Any]] = {}
        """Of the shard that was asked for last, by the keys in it."""

    def of(self, shard: str, key: str) -> dict[str, Any]:
        """The planted fields of an image; empty where it has none."""
        if shard != self._shard:
            task = self.tasks.get(shard)
            # Those of the shard before make room first.
            self._shard, self._metas = shard, {}
            if task is not None:
                self._metas = _read_metas(task)
        return self._metas.get(key, {})


def _tells(shards: Iterable[ShardTask]) -> bool:
    """Whether one of the first samples of a folder's shards has a planted field."""
    samples = (sample for task in shards for sample in read_samples(task))
    return any(_planted_in(sample.meta) for sample in islice(samples, FIRST))


def _read_metas(task: ShardTask) -> dict[str, dict[str, Any]]:
    """The planted fields of a shard's images, by their keys in the ledger."""
    found = ((storable(sample.key), _planted_in(sample.meta)) for sample in read_samples(task))
    return {key: fields for key, fields in found if fields}


def _planted_in(meta: dict[str, Any]) -> dict[str, Any]:
    return {name: meta[name] for name in PLANTED if name in meta}


@dataclass(slots=True)
class _FilterQuality:
    """Sums over the web texts of which KEY.json says whether they match."""

    texts: int = 0
    kept: int = 0
    right: int = 0
    both: int = 0
    of_noise: Counter[str] = field(default_factory=Counter)
    kept_of_noise: Counter[str] = field(default_factory=Counter)

    def add(self, row: dict[str, Any], meta: dict[str, Any]) -> None:
        """Count a text; not where KEY.json says nothing of it, or says it otherwise."""
        truth = meta.get("truth")
        if not isinstance(truth, dict) or "matches" not in truth:
            return
        right = bool(truth["matches"])
        self.texts += 1
        self.kept += row["kept"]
        self.right += right
        self.both += row["kept"] and right
        if not right:
            kind = str(truth.get("noise") or "untouched")
            self.of_noise[kind] += 1
            self.kept_of_noise[kind] += row["kept"]

    def figures(self) -> dict[str, Any]:
        """Precision and recall, None where nothing was counted."""
        if not self.texts:
            return {"filter_precision": None, "filter_recall": None, "prevalence": None}
        quality = precision_recall(self.both, self.kept, self.right)
        return {
            "filter_precision": quality["precision"],
            "filter_recall": quality["recall"],
            "prevalence": self.right / self.texts,
            "kept_of_noise": {
                kind: {"texts": texts, "kept": self.kept_of_noise[kind]}
                for kind, texts in sorted(self.of_noise.items())
            },
        }


@dataclass(slots=True)
class _CaptionQuality:
    """Sums over the synthetic texts of pictures whose scene is known."""

    texts: int = 0
    correct: int = 0
    kept: int = 0
    kept_correct: int = 0

    def add(self, row: dict[str, Any], meta: dict[str, Any]) -> None:
        """Count a text; not where KEY.json describes no scene."""
        scene = Scene.of(meta)
        if scene is None:
            return
        correct = check_facts(row["text"], scene).correct
        self.texts += 1
        self.correct += correct
        self.kept += row["kept"]
        self.kept_correct += row["kept"] and correct

    def figures(self) -> dict[str, Any]:
        """The share of correct texts before and after the filter, None if there are none."""
        return {
            "synthetic_correct_before": self.correct / self.texts if self.texts else None,
            "synthetic_correct_after": self.kept_correct / self.kept if self.kept else None,
        }
