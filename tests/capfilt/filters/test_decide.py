"""Verdicts by columns are those of a plain loop over samples."""

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blip.capfilt.filters.config import FilterRules
from blip.capfilt.filters.decide import decide
from blip.capfilt.filters.language import _classifier, detect_languages
from blip.capfilt.ledger.columns import count_table, sample_starts
from blip.capfilt.ledger.files import records_to_table
from blip.capfilt.ledger.records import TextRecord
from blip.errors import UsageError
from tests.support.records import count_samples, decide_records, record, samples

RULES = st.builds(
    FilterRules,
    keep=st.sampled_from(["all", "best-1", "best-2"]),
    min_itc=st.sampled_from([None, 0.0, 0.3]),
    min_words=st.sampled_from([None, 2]),
    max_words=st.sampled_from([None, 3, 5]),
    min_side=st.sampled_from([None, 10]),
    max_aspect=st.sampled_from([None, 1.0, 2.0]),
)


def why(record: TextRecord, threshold: float, rules: FilterRules) -> str:
    """One rule after another, as the documentation tells them."""
    assert record.itm_score is not None
    assert record.itc_cosine is not None
    longer, shorter = max(record.width, record.height), min(record.width, record.height)
    words = len(record.text.split())
    if record.itm_score < threshold:
        return "below_threshold"
    if rules.min_side is not None and shorter < rules.min_side:
        return "image_too_small"
    if rules.max_aspect is not None and longer > rules.max_aspect * shorter:
        return "image_too_long"
    if rules.min_words is not None and words < rules.min_words:
        return "too_few_words"
    if rules.max_words is not None and words > rules.max_words:
        return "too_many_words"
    if rules.min_itc is not None and record.itc_cosine < rules.min_itc:
        return "below_itc"
    return "match"


def by_loop(sample: list[TextRecord], threshold: float, rules: FilterRules) -> list[str]:
    reasons = [r.reason if r.itm_score is None else why(r, threshold, rules) for r in sample]
    passed = [n for n, reason in enumerate(reasons) if reason == "match"]
    passed.sort(key=lambda n: -(sample[n].itm_score or 0.0))
    if rules.keep != "all":
        for number in passed[int(rules.keep[5:]) :]:
            reasons[number] = "not_best"
    return reasons


@settings(max_examples=150, deadline=None)
@given(found=samples(), threshold=st.sampled_from([0.0, 0.5, 0.7, 1.0]), rules=RULES)
def test_columns_and_loop_agree(found, threshold, rules):
    flat = [record for sample in found for record in sample]
    decided = decide_records(flat, threshold, rules)
    expected = [reason for sample in found for reason in by_loop(sample, threshold, rules)]
    assert [r.reason for r in decided] == expected
    assert [r.kept for r in decided] == [reason == "match" for reason in expected]
    # Deciding once more, from whatever was decided before, is deciding once.
    again = decide_records(decide_records(flat, 0.6, FilterRules(keep="best-1")), threshold, rules)
    assert again == decided


@settings(max_examples=100, deadline=None)
@given(found=samples())
def test_counts_of_columns_are_those_of_samples(found):
    flat = [record for sample in found for record in sample]
    table = decide(records_to_table(flat), 0.5, FilterRules())
    assert sample_starts(table).tolist() == [
        sum(map(len, found[:number])) for number in range(len(found))
    ]
    decided = iter(decide_records(flat, 0.5, FilterRules()))
    assert count_table(table) == count_samples([[next(decided) for _ in s] for s in found])


def test_bad_samples_of_one_key_are_several():
    bad = record("a", "bad", 0, "", None, reason="duplicate_key")
    table = records_to_table([record("a", "web", 0, "t", 0.5), bad, bad])
    assert sample_starts(table).tolist() == [0, 1, 2]


def test_texts_in_other_languages_are_dropped_and_the_ledger_says_which():
    texts = ["a red square on a green field", "ein rotes Quadrat auf einer gr\u00fcnen Wiese"]
    found = [record("a", "web", n, text, 0.9) for n, text in enumerate(texts)]
    pytest.importorskip("py3langid")
    decided = decide_records(found, 0.5, FilterRules(languages=("en", "fr")))
    assert [(r.language, r.reason) for r in decided] == [("en", "match"), ("de", "other_language")]
    unasked = decide_records(found, 0.5, FilterRules())
    assert [r.language for r in unasked] == [None, None]


def test_without_the_library_languages_are_an_error_of_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "py3langid", None)
    _classifier.cache_clear()
    with pytest.raises(UsageError, match=r"pip install 'blip-capfilt\[language\]'"):
        detect_languages(["a"])
    _classifier.cache_clear()
