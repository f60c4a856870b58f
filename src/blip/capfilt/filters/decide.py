"""Decides on the rows of a ledger: which texts are kept, and why the others are dropped."""

# Arrow makes its compute functions at run time, out of pyright's sight.
# pyright: reportAttributeAccessIssue=false

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Int, UInt

from blip.capfilt.filters.config import FilterRules
from blip.capfilt.filters.language import detect_languages
from blip.capfilt.ledger.columns import booleans, floats, sample_starts
from blip.capfilt.ledger.files import SCHEMA
from blip.capfilt.ledger.records import (
    BELOW_ITC,
    BELOW_THRESHOLD,
    IMAGE_TOO_LONG,
    IMAGE_TOO_SMALL,
    MATCH,
    NOT_BEST,
    OTHER_LANGUAGE,
    RULES,
    TOO_FEW_WORDS,
    TOO_MANY_WORDS,
)

NUMBERS = {reason: number for number, reason in enumerate((MATCH, *RULES))}
"""The number of each reason, in the order in which the rules are checked."""


def decide(table: pa.Table, threshold: float, rules: FilterRules) -> pa.Table:
    """The rows with new decisions in `kept`, `reason` and `language`.

    Only rows with a score are decided on; bad samples and texts without a score keep their reason.
    `repeats` becomes null: only the rules of the whole job fill it. The table holds all rows of
    each sample. Raises UsageError if languages cannot be detected.
    """
    scored = ~np.isnan(floats(table, "itm_score"))
    table = _with_languages(table, scored, rules)
    table = _put(table, "repeats", pa.nulls(table.num_rows, pa.int32()))
    numbers = np.zeros(table.num_rows, np.uint8)
    for reason, fails in _checks(table, threshold, rules):
        numbers[scored & (numbers == 0) & fails] = NUMBERS[reason]
    if rules.best is not None:
        passed = np.flatnonzero(scored & (numbers == 0))
        numbers[passed[_rank(table, passed) >= rules.best]] = NUMBERS[NOT_BEST]
    table = _put(table, "reason", pc.if_else(pa.array(scored), _reasons(numbers), table["reason"]))
    return _put(table, "kept", pa.array(scored & (numbers == 0)))


def overrule(
    table: pa.Table, numbers: UInt[np.ndarray, " rows"], repeats: UInt[np.ndarray, " rows"]
) -> pa.Table:
    """Decided rows, of which those with a number other than 0 are dropped for that reason.

    `numbers` are those of `NUMBERS`. `repeats` fills the column of that name, null where it is 0.
    """
    known = pa.array(repeats, pa.int32(), mask=repeats == 0)
    table = _put(table, "repeats", known)
    if not numbers.any():
        return table
    dropped = pa.array(numbers != 0)
    table = _put(table, "reason", pc.if_else(dropped, _reasons(numbers), table["reason"]))
    return _put(table, "kept", pc.and_not(table["kept"], dropped))


def _reasons(numbers: Int[np.ndarray, " rows"]) -> pa.Array:
    names = pa.array((MATCH, *RULES))
    return pa.DictionaryArray.from_arrays(pa.array(numbers), names).cast(pa.string())


def _checks(
    table: pa.Table, threshold: float, rules: FilterRules
) -> list[tuple[str, Bool[np.ndarray, " rows"]]]:
    """Every rule that is on, in the order of `RULES`, with the rows that fail it."""
    checks = [(BELOW_THRESHOLD, floats(table, "itm_score") < threshold)]
    width, height = floats(table, "width"), floats(table, "height")
    if rules.min_side is not None:
        checks.append((IMAGE_TOO_SMALL, np.fmin(width, height) < rules.min_side))
    if rules.max_aspect is not None:
        longer, shorter = np.fmax(width, height), np.fmin(width, height)
        checks.append((IMAGE_TOO_LONG, longer > rules.max_aspect * shorter))
    if rules.min_words is not None or rules.max_words is not None:
        words = pc.list_value_length(
            pc.utf8_split_whitespace(pc.utf8_trim_whitespace(table["text"]))
        )
        count = words.to_numpy()
        checks.append((TOO_FEW_WORDS, count < (rules.min_words or 0)))
        if rules.max_words is not None:
            checks.append((TOO_MANY_WORDS, count > rules.max_words))
    if rules.languages:
        allowed = pc.is_in(table["language"], pa.array(rules.languages))
        checks.append((OTHER_LANGUAGE, ~booleans(allowed)))
    if rules.min_itc is not None:
        checks.append((BELOW_ITC, floats(table, "itc_cosine") < rules.min_itc))
    return checks


def _with_languages(
    table: pa.Table, scored: Bool[np.ndarray, " rows"], rules: FilterRules
) -> pa.Table:
    """Detect the languages of scored texts where a rule needs them and they are not known yet.

    Without such a rule the column becomes null, as in a job that never had the rule.
    """
    if not rules.languages:
        return _put(table, "language", pa.nulls(table.num_rows, pa.string()))
    unknown = scored & booleans(table["language"].is_null())
    if not unknown.any():
        return table
    languages = table["language"].to_pylist()
    rows = np.flatnonzero(unknown)
    texts = table["text"].take(pa.array(rows)).to_pylist()
    for row, language in zip(rows, detect_languages(texts), strict=True):
        languages[row] = language
    return _put(table, "language", pa.array(languages, pa.string()))


def _rank(table: pa.Table, rows: Int[np.ndarray, " rows"]) -> Int[np.ndarray, " rows"]:
    """The rank of each row within its sample by ITM score, 0 for the highest.

    Of equal scores the earlier row ranks first.
    """
    samples = np.searchsorted(sample_starts(table), rows, side="right")
    order = np.lexsort((rows, -floats(table, "itm_score")[rows], samples))
    sorted_samples = samples[order]
    firsts = np.searchsorted(sorted_samples, sorted_samples, side="left")
    ranks = np.empty(len(rows), np.int64)
    ranks[order] = np.arange(len(rows)) - firsts
    return ranks


def _put(table: pa.Table, name: str, values: pa.Array | pa.ChunkedArray) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), SCHEMA.field(name), values)
