"""How the filter is used and judged: which score, which threshold, and how well it tells."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from blip.capfilt.config import CapFiltConfig
from blip.capfilt.filters.config import FilterRules
from blip.capfilt.ledger.files import read_rows
from blip.data.readers.sources import find_sources, read_sources
from blip.inference.matcher import Matcher
from blip.metrics.captions import CaptionParts, caption_parts
from experiments.judging import Resampling, filter_figures
from experiments.labels import read_labelled
from experiments.photos.labels import TABLE, read_table
from experiments.photos.settings import Places

KEEP_HUMAN = 0.75
"""A threshold is what this share of the captions of val reach, which people wrote."""
SCORES = ("itm", "itc")
CAPTION = ("cider", "bleu4")
READINGS = ("match", "not_wrong")
"""Columns of the labelled table: right against poor and wrong, right or poor against wrong."""


@dataclass(frozen=True, slots=True)
class Scored:
    """Texts with both scores and whether they are right; `owners` are their images' numbers."""

    itm: np.ndarray
    itc: np.ndarray
    right: np.ndarray
    owners: np.ndarray

    def figures(self, thresholds: dict[str, float]) -> dict[str, Any]:
        """`precision` ... of what each score keeps, and `area`, each with its interval."""
        found = {}
        for name, threshold in thresholds.items():
            score = self.itm if name == "itm" else self.itc
            statistic = filter_figures(score, self.itc, self.right, self.owners, threshold)
            found[name] = Resampling().find(statistic, int(self.owners.max()) + 1)
            del found[name]["itc_area"]
        return {"texts": len(self.right), "images": int(self.owners.max()) + 1, **found}


def choose_threshold(places: Places) -> dict[str, Any]:
    """The score that better tells captions of val from those of its next photo; thresholds."""
    samples = [sample for _, sample in read_sources(find_sources([str(places.data / "val")]))]
    images = [sample.image for sample in samples if sample.image is not None]
    own = [sample.texts for sample in samples]
    others = [*own[1:], own[0]]
    texts = [(*mine, *theirs) for mine, theirs in zip(own, others, strict=True)]
    right = np.concatenate(
        [
            [True] * len(mine) + [False] * len(theirs)
            for mine, theirs in zip(own, others, strict=True)
        ]
    )
    scored = _score(places, images, texts, right)
    thresholds = {
        "itm": round(float(np.quantile(scored.itm[right], 1 - KEEP_HUMAN)), 4),
        "itc": round(float(np.quantile(scored.itc[right], 1 - KEEP_HUMAN)), 4),
    }
    figures = scored.figures(thresholds)
    chosen = max(SCORES, key=lambda name: figures[name]["area"][0])
    return {"score": chosen, "thresholds": thresholds, "val": figures}


def rules(found: dict[str, Any]) -> dict[str, Any]:
    """The fields of `CapFiltConfig` that apply the chosen score and its threshold."""
    threshold = found["thresholds"][found["score"]]
    if found["score"] == "itm":
        return {"threshold": threshold}
    return {"threshold": 0.0, "rules": FilterRules(min_itc=threshold)}


def judge_planted(config: CapFiltConfig, found: dict[str, Any]) -> dict[str, Any]:
    """By the truth that was planted in the web texts."""
    truths = {
        sample.key: bool(sample.meta["truth"]["matches"])
        for _, sample in read_sources(find_sources(config.data))
    }
    ledgers = sorted(ledger_of(config).glob("*.parquet"))
    rows = [row for row in read_rows(ledgers) if row["source"] == "web"]
    scored = Scored(
        np.array([row["itm_score"] for row in rows]),
        np.array([row["itc_cosine"] for row in rows]),
        np.array([truths[row["key"]] for row in rows]),
        np.arange(len(rows)),
    )
    return scored.figures(found["thresholds"])


def judge_synthetic(places: Places, config: CapFiltConfig) -> dict[str, Any]:
    """CIDEr and BLEU-4 of the synthetic texts that were kept and dropped, by human captions."""
    train = parquet.read_table(
        places.shared / "flickr8k/train.parquet", columns=["key", "caption"]
    ).to_pylist()
    captions = {row["key"]: row["caption"] for row in train}
    ledgers = sorted(ledger_of(config).glob("*.parquet"))
    rows = [row for row in read_rows(ledgers) if row["source"] == "synthetic"]
    parts = caption_parts([row["text"] for row in rows], [captions[row["key"]] for row in rows])
    kept = np.array([row["kept"] for row in rows], dtype=float)
    found = {}
    for name, chosen in (("kept", kept), ("dropped", 1 - kept)):
        figures = Resampling().find(partial(_scores_of, parts, chosen), len(rows))
        found[name] = {"texts": int(chosen.sum()), **{key: figures[key] for key in CAPTION}}
    return found


def _scores_of(
    parts: CaptionParts, chosen: np.ndarray, weights: np.ndarray
) -> dict[str, np.ndarray]:
    return parts.scores(weights * chosen)


def ledger_of(config: CapFiltConfig) -> Path:
    """Where a job writes its scores."""
    return Path(config.out) / "ledger"


def judge_labels(places: Places, found: dict[str, Any]) -> dict[str, Any]:
    """By the alt texts that have a label, under both readings of "poor"."""
    path = places.out / "labelled.parquet"
    write_labelled(places.shared / "webalt/train.parquet", path)
    judged = {}
    for reading in READINGS:
        pairs = read_labelled(path, reading)
        texts = [tuple(text for text, _ in row) for row in pairs.texts]
        right = np.array([label for row in pairs.texts for _, label in row])
        scored = _score(places, pairs.images, texts, right)
        judged[reading] = scored.figures(found["thresholds"])
    return judged


def write_labelled(source: Path, out: Path, labels: Path = TABLE) -> None:
    """Write the rows of a table that have a label, with a column for each reading."""
    given = read_table(labels)
    table = parquet.read_table(source)
    table = table.filter(pa.array([key in given for key in table["key"].to_pylist()]))
    said = [given[key] for key in table["key"].to_pylist()]
    table = table.append_column("match", pa.array([word == "right" for word in said]))
    table = table.append_column("not_wrong", pa.array([word != "wrong" for word in said]))
    parquet.write_table(table, out)


def _score(
    places: Places, images: list[bytes], texts: list[tuple[str, ...]], right: np.ndarray
) -> Scored:
    matcher = Matcher.load(str(places.out / "filter"))
    rows = matcher.scores(images, texts, batch_size=16)
    return Scored(
        np.array([score.probability for row in rows for score in row]),
        np.array([score.cosine for row in rows for score in row]),
        right,
        np.repeat(np.arange(len(rows)), [len(row) for row in rows]),
    )
