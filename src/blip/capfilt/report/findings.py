"""What a report shows of a job, collected in one pass over its ledgers."""

# Arrow makes its compute functions at run time, out of pyright's sight.
# pyright: reportAttributeAccessIssue=false

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float, Int

from blip.capfilt.ledger.columns import booleans, floats, sample_starts
from blip.capfilt.ledger.files import to_record
from blip.capfilt.ledger.records import SOURCES, TextRecord
from blip.data.captions import clean_caption

BINS = 20
MAX_WORDS = 40
"""Longer texts are counted with those of this many words."""
CARDS = 60
"""Number of samples shown of each kind."""
BAD_SHOWN = 100
VOCABULARY_TEXTS = 200_000
"""Limit of texts whose words are counted, so that memory does not grow with the job."""

KINDS = (
    ("Web text replaced", "The web text was dropped, a synthetic one was kept"),
    ("Image lost", "No text was kept"),
    ("Synthetic text refused", "The web text was kept, no synthetic one was"),
    ("Both kept", "Web and synthetic text were kept"),
)
"""Kinds of samples, the most changed first, and what they mean."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """Texts of a source by a score or length: how many were kept and dropped in each bin."""

    low: float
    high: float
    kept: Int[np.ndarray, " bins"]
    dropped: Int[np.ndarray, " bins"]

    @classmethod
    def empty(cls, low: float, high: float, bins: int) -> "Histogram":
        """A histogram without texts."""
        return cls(low, high, np.zeros(bins, np.int64), np.zeros(bins, np.int64))

    def add(self, values: Float[np.ndarray, " texts"], kept: Bool[np.ndarray, " texts"]) -> None:
        """Count values; those beyond an end go into its bin, NaN into none."""
        bins = len(self.kept)
        known = ~np.isnan(values)
        scaled = (values[known] - self.low) / (self.high - self.low) * bins
        numbers = np.clip(np.floor(scaled), 0, bins - 1).astype(np.int64)
        self.kept[:] += np.bincount(numbers[kept[known]], minlength=bins)
        self.dropped[:] += np.bincount(numbers[~kept[known]], minlength=bins)

    @property
    def total(self) -> int:
        """Texts counted."""
        return int(self.kept.sum() + self.dropped.sum())


@dataclass(slots=True)
class Words:
    """Words before CapFilt, of web texts, and after it, of kept texts of both sources."""

    before: Counter[str] = field(default_factory=Counter)
    after: Counter[str] = field(default_factory=Counter)
    texts_before: int = 0
    texts_after: int = 0

    def add(self, texts: list[str], of_web: list[bool], kept: list[bool]) -> None:
        """Count the words of some texts, as the models read them."""
        for text, is_web, is_kept in zip(texts, of_web, kept, strict=True):
            words = clean_caption(text).split()
            if is_web:
                self.before.update(words)
                self.texts_before += 1
            if is_kept:
                self.after.update(words)
                self.texts_after += 1


@dataclass(slots=True)
class Findings:
    """Collects what the report shows."""

    itm: dict[str, Histogram] = field(
        default_factory=lambda: {name: Histogram.empty(0, 1, BINS) for name in SOURCES}
    )
    itc: dict[str, Histogram] = field(
        default_factory=lambda: {name: Histogram.empty(-1, 1, 2 * BINS) for name in SOURCES}
    )
    lengths: dict[str, Histogram] = field(
        default_factory=lambda: {
            name: Histogram.empty(0.5, MAX_WORDS + 0.5, MAX_WORDS) for name in SOURCES
        }
    )
    words: Words = field(default_factory=Words)
    cards: list[list[tuple[float, int, list[TextRecord]]]] = field(
        default_factory=lambda: [[] for _ in KINDS]
    )
    """For each kind a heap of (change, -order, records)."""
    bad: list[TextRecord] = field(default_factory=list)
    order: int = 0

    def add(self, table: pa.Table, *, show: bool) -> None:
        """Add a row group; with `show`, its samples may become cards."""
        kept = booleans(table["kept"])
        columns = {name: floats(table, name) for name in ("itm_score", "itc_cosine")}
        lengths = pc.list_value_length(pc.utf8_split_whitespace(table["text"]))
        # The length of a text that is empty once cleaned does not count.
        words = np.where(np.isnan(columns["itm_score"]), np.nan, lengths.to_numpy())
        for source in SOURCES:
            of = is_source(table, source)
            self.itm[source].add(columns["itm_score"][of], kept[of])
            self.itc[source].add(columns["itc_cosine"][of], kept[of])
            self.lengths[source].add(words[of], kept[of])
        if len(self.bad) < BAD_SHOWN:
            bad = table.filter(pc.equal(table["source"], "bad"))
            self.bad += _records(bad.slice(0, BAD_SHOWN - len(self.bad)))
        if show:
            self._count_words(table)
            self._choose(table, columns["itm_score"], kept)

    def chosen(self) -> list[list[list[TextRecord]]]:
        """The samples of each kind, the most changed first."""
        return [[entry[2] for entry in sorted(heap, reverse=True)] for heap in self.cards]

    def _count_words(self, table: pa.Table) -> None:
        room = VOCABULARY_TEXTS - self.words.texts_before - self.words.texts_after
        some = table.slice(0, max(room, 0) // 2)
        self.words.add(
            some["text"].to_pylist(), is_source(some, "web").tolist(), some["kept"].to_pylist()
        )

    def _choose(
        self, table: pa.Table, scores: Float[np.ndarray, " rows"], kept: Bool[np.ndarray, " rows"]
    ) -> None:
        starts = sample_starts(table)
        if not len(starts):
            return
        sizes = np.diff(starts, append=table.num_rows)
        best, has = {}, {}
        for source in SOURCES:
            of = is_source(table, source)
            best[source] = np.maximum.reduceat(np.where(of, np.nan_to_num(scores), 0.0), starts)
            has[source] = np.logical_or.reduceat(of & kept, starts)
        change = np.abs(best["synthetic"] - best["web"])
        kinds = np.select(
            [~has["web"] & has["synthetic"], ~has["web"] & ~has["synthetic"], ~has["synthetic"]],
            [0, 1, 2],
            3,
        )
        sound = ~is_source(table, "bad")[starts]
        for kind, heap in enumerate(self.cards):
            of = np.flatnonzero(sound & (kinds == kind))
            for place in of[np.argsort(-change[of], kind="stable")[:CARDS]].tolist():
                if len(heap) == CARDS and change[place] < heap[0][0]:
                    break
                records = _records(table.slice(int(starts[place]), int(sizes[place])))
                entry = (float(change[place]), -(self.order + place), records)
                (heapq.heappush if len(heap) < CARDS else heapq.heappushpop)(heap, entry)
        self.order += len(starts)


def _records(table: pa.Table) -> list[TextRecord]:
    return [to_record(row) for row in table.to_pylist()]


def is_source(table: pa.Table, source: str) -> Bool[np.ndarray, " rows"]:
    """Which rows are texts of a source."""
    return booleans(pc.equal(table["source"], source))


def changed_words(words: Words, most: int) -> Iterator[tuple[str, float, float]]:
    """Words whose share of all words changed the most, with the share before and after."""
    totals = max(words.before.total(), 1), max(words.after.total(), 1)
    shares = {
        word: (words.before[word] / totals[0], words.after[word] / totals[1])
        for word in words.before.keys() | words.after.keys()
    }
    order = sorted(shares, key=lambda word: (-abs(shares[word][1] - shares[word][0]), word))
    for word in order[:most]:
        yield word, *shares[word]
