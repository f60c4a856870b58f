"""How many texts every threshold would keep, and examples at every score; for the page's slider.

Counts are exact, however many texts a job has: scores are counted between neighbouring thresholds
of a grid, and a text reaches a threshold of the grid exactly if it is counted at or above it.
"""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import isfinite
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int

from blip.capfilt.filters.config import FilterRules, JobRules
from blip.capfilt.filters.decide import decide
from blip.capfilt.ledger.columns import booleans, floats
from blip.capfilt.ledger.files import to_record
from blip.capfilt.ledger.records import SOURCES, TextRecord
from blip.capfilt.report.findings import is_source
from blip.capfilt.report.page import shortened
from blip.config import strict

ITM_STEPS = 200
"""Thresholds of the ITM probability on the grid, beside that of the job."""
ITC_STEPS = 200
"""Likewise of the ITC cosine, from -1 to 1."""
RANGES = 50
"""Ranges of the ITM probability from each of which examples are taken."""
EXAMPLES = 4
"""Examples of a source from each range."""
NAME_SHOWN = 80
"""Characters of a shard or key."""

Entry = tuple[float, int, TextRecord]
"""An example after its random number, and minus its place in the job."""


@dataclass(slots=True)
class Thresholds:
    """Counts texts by both scores, and samples examples."""

    rules: FilterRules
    """The job's rules beside the threshold. `best-N` depends on the least cosine, which is then
    one of them; without it the page moves that as well."""
    itm: Float[np.ndarray, " itm"]
    """Ascending thresholds; the first keeps all."""
    itc: Float[np.ndarray, " itc"]
    counts: dict[str, Int[np.ndarray, "itm itc"]]
    """Of each source the texts that pass the other rules, by the highest thresholds they reach."""
    examples: dict[tuple[str, int], list[Entry]] = field(default_factory=dict)
    """For each source and range a heap."""
    order: int = 0

    @classmethod
    def of_job(cls, settings: Mapping[str, Any]) -> "Thresholds":
        """Without texts yet; `settings` are those of the job, or of a recut."""
        rules = strict.from_json(FilterRules, settings.get("rules", {}))
        itm = np.unique([*_grid(0, ITM_STEPS, ITM_STEPS), settings["threshold"]])
        itc = np.array([-1.0])
        if rules.best is None:
            half = ITC_STEPS // 2
            itc = np.unique([*_grid(-half, half, half), rules.min_itc or -1.0])
            rules = replace(rules, min_itc=None)
        counts = {name: np.zeros((len(itm), len(itc)), np.int64) for name in SOURCES}
        return cls(rules, itm, itc, counts)

    def add(self, table: pa.Table, *, show: bool) -> None:
        """Add a row group, which holds whole samples; with `show`, its texts may be examples."""
        passed = booleans(decide(table, 0.0, self.rules)["kept"])
        itm = _reached(floats(table, "itm_score"), self.itm)
        cosines = floats(table, "itc_cosine")
        # A text without a cosine passes every least cosine.
        itc = np.where(np.isnan(cosines), len(self.itc) - 1, _reached(cosines, self.itc))
        shape = len(self.itm), len(self.itc)
        for source in SOURCES:
            of = passed & is_source(table, source)
            cells = np.bincount(itm[of] * shape[1] + itc[of], minlength=shape[0] * shape[1])
            self.counts[source] += cells.reshape(shape)
            if show:
                self._sample(table, source, of)
        self.order += table.num_rows

    def chosen(self) -> list[TextRecord]:
        """The examples, of each source by score."""
        found = [entry[2] for heap in self.examples.values() for entry in heap]
        return sorted(found, key=lambda r: (r.source, r.itm_score, r.shard, r.key, r.number))

    def _sample(self, table: pa.Table, source: str, of: Bool[np.ndarray, " rows"]) -> None:
        """Keep the texts with the highest random numbers, which depend on their place alone."""
        numbers = np.random.default_rng((self.order, SOURCES.index(source))).random(len(of))
        scores = floats(table, "itm_score")
        ranges = np.minimum(np.nan_to_num(scores) * RANGES, RANGES - 1).astype(np.int64)
        for place in np.unique(ranges[of]).tolist():
            heap = self.examples.setdefault((source, place), [])
            rows = np.flatnonzero(of & (ranges == place))
            for row in rows[np.argsort(-numbers[rows], kind="stable")[:EXAMPLES]].tolist():
                if len(heap) == EXAMPLES and numbers[row] <= heap[0][0]:
                    break
                record = to_record(table.slice(row, 1).to_pylist()[0])
                entry = (float(numbers[row]), -(self.order + row), record)
                (heapq.heappush if len(heap) < EXAMPLES else heapq.heappushpop)(heap, entry)


def thresholds_for_page(
    thresholds: Thresholds,
    settings: Mapping[str, Any],
    totals: Mapping[str, int],
    pictures: Mapping[tuple[str, str], str],
) -> dict[str, Any]:
    """What the page's script reads: plain JSON values.

    `totals` counts all texts of each source; `pictures` are data addresses by shard and key.
    """
    examples = thresholds.chosen()
    shown = {place: n for n, place in enumerate(dict.fromkeys(_places(examples, pictures)))}
    job_rules = strict.from_json(JobRules, settings.get("job_rules", {}))
    rules = settings.get("rules", {})
    return {
        "itm": thresholds.itm.tolist(),
        "itc": thresholds.itc.tolist(),
        "threshold": settings["threshold"],
        "min_itc": rules.get("min_itc"),
        "totals": dict(totals),
        "counts": {name: _cells(counts) for name, counts in thresholds.counts.items()},
        "whole_job": job_rules.any,
        "options": _options(thresholds.rules, job_rules, settings.get("write", "shards")),
        "pictures": [pictures[place] for place in shown],
        "examples": [_example(record, shown) for record in examples],
    }


def _grid(low: int, high: int, parts: int) -> list[float]:
    """Multiples of 1 / parts, each the number that its decimal digits are read as."""
    return [number / parts for number in range(low, high + 1)]


def _reached(
    scores: Float[np.ndarray, " rows"], edges: Float[np.ndarray, " edges"]
) -> Int[np.ndarray, " rows"]:
    return np.maximum(np.searchsorted(edges, scores, side="right") - 1, 0)


def _cells(counts: Int[np.ndarray, "itm itc"]) -> list[list[int]]:
    """The cells with texts: place among both grids, and how many texts."""
    found = np.argwhere(counts > 0)
    return [[*cell, int(counts[tuple(cell)])] for cell in found.tolist()]


def _places(
    records: Sequence[TextRecord], pictures: Mapping[tuple[str, str], str]
) -> Iterator[tuple[str, str]]:
    for record in records:
        if (record.shard, record.key) in pictures:
            yield record.shard, record.key


def _example(record: TextRecord, pictures: Mapping[tuple[str, str], int]) -> dict[str, Any]:
    cosine = record.itc_cosine
    return {
        "source": record.source,
        "text": shortened(record.text),
        "name": f"{record.shard[:NAME_SHOWN]} / {record.key[:NAME_SHOWN]}",
        "itm": record.itm_score,
        "itc": cosine if cosine is not None and isfinite(cosine) else None,
        "picture": pictures.get((record.shard, record.key)),
    }


def _options(rules: FilterRules, job_rules: JobRules, write: str) -> list[str]:
    """The job's other rules as options of `blip capfilt recut`."""
    found = [] if write == "shards" else ["--write", write]
    off = {**asdict(FilterRules()), **asdict(JobRules())}
    for name, value in {**asdict(rules), **asdict(job_rules)}.items():
        if value != off[name]:
            values = value if isinstance(value, tuple) else () if value is True else (value,)
            found += [f"--{name.replace('_', '-')}", *map(str, values)]
    return found
