"""Data sets that are cut from one job of CapFilt by several rules, without a model."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from blip.capfilt.config import RecutConfig
from blip.capfilt.ledger.columns import booleans, floats
from blip.capfilt.ledger.files import find_ledgers, read_groups, read_rows
from blip.capfilt.recut import recut
from blip.capfilt.report.findings import is_source
from blip.capfilt.report.quality import measure_capfilt
from blip.data.captions import clean_caption
from blip.files import write_json
from blip.outputs import Kind

FIGURES = "figures.json"
CUT = Kind("cut", "python -m experiments.tables", (FIGURES, "decided/ledger/*.parquet", "kept/*"))
"""What a cut writes: the ledger with its decisions, and the shards of `recut` in `kept`."""
UNSURE = 0.2
"""Below this part of the threshold the filter is sure that a web text does not match."""

Rule = Literal["itm", "all", "web", "itc", "rank_sum", "random", "unsure"]
"""Which texts a cut keeps:

- itm: those whose probability of a match reaches the threshold; web: the web texts among them;
- all: every text; unsure: as itm, and web texts of which the filter is not sure;
- itc, rank_sum, random: as many texts as itm, with the highest ITC cosine, the highest sum of
  ranks by probability and cosine, or drawn by chance.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class CutConfig:
    """Which texts of a job are kept."""

    job: str
    web: tuple[str, ...]
    rule: Rule
    threshold: float
    seed: int
    """Of a choice by chance."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Writes the kept texts as shards, and what they are like."""

    config: CutConfig
    out: Path

    def __call__(self) -> None:
        """Decide on the job's ledger, cut it, count."""
        config = self.config
        whole = cut_job(
            Path(config.job), self.out, config.web, lambda ledger: choose(ledger, config)
        )
        write_json(self.out / FIGURES, measure(whole / "ledger", config.web))


def cut_job(
    job: Path, out: Path, web: tuple[str, ...], keeps: Callable[[pa.Table], np.ndarray]
) -> Path:
    """Write what `keeps` chooses of a whole job's ledger; returns the folder with `shards`."""
    decided, whole = out / "decided", out / "kept"
    ledgers = find_ledgers(job)
    tables = [pa.concat_tables(read_groups(ledger)) for ledger in ledgers]
    kept = keeps(pa.concat_tables(tables))
    (decided / "ledger").mkdir(parents=True, exist_ok=True)
    first = 0
    for ledger, table in zip(ledgers, tables, strict=True):
        mine = kept[first : first + len(table)]
        first += len(table)
        _write(decided / "ledger" / ledger.name, table, mine)
    recut(RecutConfig(ledger=str(decided), out=str(whole), threshold=0.5, data=web))
    return whole


def choose(table: pa.Table, config: CutConfig) -> np.ndarray:
    """Which rows of a whole job's ledger the rule keeps; never one without a score."""
    itm, itc = floats(table, "itm_score"), floats(table, "itc_cosine")
    scored, of_web = ~np.isnan(itm), is_source(table, "web")
    matching = scored & (itm >= config.threshold)
    match config.rule:
        case "itm":
            return matching
        case "all":
            return scored
        case "web":
            return matching & of_web
        case "unsure":
            return matching | (scored & of_web & (itm >= UNSURE * config.threshold))
        case "itc":
            score = itc
        case "rank_sum":
            score = _ranks(itm) + _ranks(itc)
        case "random":
            score = np.random.default_rng(config.seed).random(len(itm))
    order = np.argsort(np.where(scored, -score, np.inf), kind="stable")
    kept = np.zeros(len(itm), bool)
    kept[order[: matching.sum()]] = True
    return kept


def _ranks(values: np.ndarray) -> np.ndarray:
    """0 for the least; of equal values the earlier one has the lower rank."""
    ranks = np.empty(len(values))
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values))
    return ranks


def _write(path: Path, table: pa.Table, kept: np.ndarray) -> None:
    """A ledger in which the score of a match is 1 where a text is kept, and 0 elsewhere."""
    place, scored = table.schema.get_field_index("itm_score"), table["itm_score"].is_valid()
    scores = pa.array(kept.astype(np.float64), mask=~booleans(scored))
    part = path.with_name(f".{path.name}.part")
    pq.write_table(table.set_column(place, table.schema.field(place), scores), part)
    os.replace(part, path)


def measure(ledger: Path, web: tuple[str, ...]) -> dict[str, Any]:
    """What was kept, how well it was chosen, and how the written texts differ from each other."""
    rows = read_rows(sorted(ledger.glob("*.parquet")), ("source", "text"))
    written = [clean_caption(row["text"]) for row in rows if row["source"] == "synthetic"]
    return {**measure_capfilt(ledger, web), **diversity(written)}


def diversity(texts: list[str]) -> dict[str, float]:
    """`vocabulary`: different words; `distinct1` to `distinct3`: different of all n-grams, in %."""
    words = [text.split() for text in texts]
    found: dict[str, float] = {"vocabulary": len({word for text in words for word in text})}
    for n in (1, 2, 3):
        grams = [tuple(text[i : i + n]) for text in words for i in range(len(text) - n + 1)]
        found[f"distinct{n}"] = 100.0 * len(set(grams)) / max(len(grams), 1)
    return found
