"""Rules of the whole job: finds repeated texts and near-duplicate images in its ledgers."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, UInt

from blip.capfilt.filters.config import FilterRules, JobRules
from blip.capfilt.filters.decide import NUMBERS, decide, overrule
from blip.capfilt.filters.near import first_of_near
from blip.capfilt.ledger.columns import booleans, sample_starts
from blip.capfilt.ledger.files import count_rows, hash_numbers, read_groups
from blip.capfilt.ledger.records import DUPLICATE_IMAGE, DUPLICATE_TEXT, REPEATED_TEXT
from blip.data.captions import clean_caption
from blip.log import progress


@dataclass(frozen=True, slots=True)
class JobVerdicts:
    """The decisions of the rules of the whole job on some rows."""

    numbers: UInt[np.ndarray, " rows"]
    """The reason to drop a row, as in `decide.NUMBERS`; 0 where these rules keep it."""
    repeats: UInt[np.ndarray, " rows"]
    """How often the text occurs among the scored ones; 0 for a text without a score."""

    def part(self, start: int, stop: int) -> "JobVerdicts":
        """The decisions on rows `start` to `stop`; shares their memory."""
        return JobVerdicts(self.numbers[start:stop], self.repeats[start:stop])


def judge_ledgers(
    ledgers: Sequence[Path], threshold: float, rules: FilterRules, job_rules: JobRules
) -> dict[Path, JobVerdicts]:
    """The verdicts on the rows of each ledger of a job; shows a progress bar.

    Raises BlipError if a ledger cannot be read.
    """
    rows = [count_rows(ledger) for ledger in ledgers]
    with progress(sum(rows), "look at all texts", "texts") as bar:

        def tables() -> Iterator[pa.Table]:
            for ledger in ledgers:
                for table in decide_anew(ledger, threshold, rules):
                    yield table
                    bar.advance(table.num_rows)

        verdicts = judge_job(tables(), job_rules)
    ends = np.cumsum(rows).tolist()
    places = zip(ledgers, rows, ends, strict=True)
    return {ledger: verdicts.part(end - count, end) for ledger, count, end in places}


def decide_anew(
    ledger: Path, threshold: float, rules: FilterRules, verdicts: JobVerdicts | None = None
) -> Iterator[pa.Table]:
    """The row groups of a ledger, decided again by their scores, then by the job's `verdicts`."""
    place = 0
    for group in read_groups(ledger):
        table = decide(group, threshold, rules)
        if verdicts is not None:
            mine = verdicts.part(place, place + table.num_rows)
            table = overrule(table, mine.numbers, mine.repeats)
        place += table.num_rows
        yield table


def judge_job(tables: Iterable[pa.Table], rules: JobRules) -> JobVerdicts:
    """The verdicts on every row of a job.

    `tables` are the row groups of all ledgers in their order, decided by all other rules. Of
    duplicates the first in that order is kept, so that the verdicts depend on the ledgers alone.
    Memory: 15 bytes for each row, 8 for each image, and a few times that while they are sorted.
    """
    seen = _Seen()
    for table in tables:
        seen.add(table, rules)
    texts, kept = _join(seen.texts, np.uint64), _join(seen.kept, bool)
    scored = _join(seen.scored, bool)
    repeats = np.zeros(len(kept), np.uint32)
    repeats[scored] = _count_each(texts[scored])
    verdicts = np.zeros(len(kept), np.uint8)
    if rules.max_repeats is not None:
        often = repeats > rules.max_repeats
        verdicts[often & kept] = NUMBERS[REPEATED_TEXT]
        kept &= ~often
    if rules.unique_images is not None:
        twice = _of_known_images(seen, kept, rules.unique_images)
        verdicts[twice & kept] = NUMBERS[DUPLICATE_IMAGE]
        kept &= ~twice
    if rules.unique_texts:
        again = np.flatnonzero(kept)[~_is_first(texts[kept])]
        verdicts[again] = NUMBERS[DUPLICATE_TEXT]
    return JobVerdicts(verdicts, repeats)


def text_hash(text: str) -> int:
    """A 64-bit hash of a text as the models read it: case and most punctuation are ignored."""
    digest = hashlib.blake2b(clean_caption(text).encode(), digest_size=8)
    return int.from_bytes(digest.digest(), "big")


@dataclass(slots=True)
class _Seen:
    """What is collected from every row group."""

    texts: list[UInt[np.ndarray, " rows"]] = field(default_factory=list)
    scored: list[Bool[np.ndarray, " rows"]] = field(default_factory=list)
    kept: list[Bool[np.ndarray, " rows"]] = field(default_factory=list)
    images: list[UInt[np.ndarray, " samples"]] = field(default_factory=list)
    hashed: list[Bool[np.ndarray, " samples"]] = field(default_factory=list)
    """Which images have a hash."""
    sizes: list[UInt[np.ndarray, " samples"]] = field(default_factory=list)
    """Rows of each sample."""

    def add(self, table: pa.Table, rules: JobRules) -> None:
        self.kept.append(booleans(table["kept"]))
        self.texts.append(_hashes(table["text"]))
        self.scored.append(booleans(table["itm_score"].is_valid()))
        if rules.unique_images is not None:
            starts = sample_starts(table)
            hashes = table["image_hash"].take(pa.array(starts))
            self.images.append(hash_numbers(hashes))
            self.hashed.append(booleans(hashes.is_valid()))
            self.sizes.append(np.diff(starts, append=table.num_rows).astype(np.uint32))


def _hashes(texts: pa.ChunkedArray) -> UInt[np.ndarray, " rows"]:
    """Each different text is hashed once."""
    encoded = texts.combine_chunks().dictionary_encode()
    different = np.array([text_hash(text) for text in encoded.dictionary.to_pylist()], np.uint64)
    return different[encoded.indices.to_numpy()] if len(texts) else different


def _count_each(hashes: UInt[np.ndarray, " rows"]) -> UInt[np.ndarray, " rows"]:
    """How often the hash of each row occurs among all."""
    ordered = np.sort(hashes)
    begins = np.ones(len(ordered), bool)
    begins[1:] = ordered[1:] != ordered[:-1]
    starts = np.flatnonzero(begins)
    sizes = np.diff(starts, append=len(ordered)).astype(np.uint32)
    several = ordered[starts[sizes > 1]]
    counts = np.ones(len(hashes), np.uint32)
    if len(several):
        # Most occur once; a search among the others alone stays in the processor's cache.
        place = np.minimum(np.searchsorted(several, hashes), len(several) - 1)
        repeated = several[place] == hashes
        counts[repeated] = sizes[sizes > 1][place[repeated]]
    return counts


def _is_first(hashes: UInt[np.ndarray, " rows"]) -> Bool[np.ndarray, " rows"]:
    """Whether no earlier row has the same hash."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    first = np.ones(len(hashes), bool)
    first[order[1:]] = ordered[1:] != ordered[:-1]
    return first


def _of_known_images(
    seen: _Seen, kept: Bool[np.ndarray, " rows"], bits: int
) -> Bool[np.ndarray, " rows"]:
    """The rows of images that look like an earlier one; images without a kept text do not count."""
    sizes = _join(seen.sizes, np.uint32).astype(np.int64)
    starts = np.cumsum(sizes) - sizes
    has_text = np.logical_or.reduceat(kept, starts) if len(starts) else np.zeros(0, bool)
    compared = np.flatnonzero(has_text & _join(seen.hashed, bool))
    known = np.zeros(len(sizes), bool)
    known[compared[~first_of_near(_join(seen.images, np.uint64)[compared], bits)]] = True
    return np.repeat(known, sizes)


def _join(parts: list[np.ndarray], kind: type) -> np.ndarray:
    """One array of all parts; frees the parts."""
    joined = np.concatenate(parts) if parts else np.zeros(0, kind)
    parts.clear()
    return joined
