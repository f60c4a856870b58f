"""Counts at every threshold are those of deciding again; examples cover the scores."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blip.capfilt.filters.config import FilterRules, JobRules
from blip.capfilt.ledger.files import records_to_table
from blip.capfilt.report.thresholds import EXAMPLES, RANGES, Thresholds, thresholds_for_page
from blip.config import strict
from blip.pages.render import to_script
from tests.support.records import decide_records, record, samples


def job_settings(threshold=0.5, rules=None, job_rules=None, write="shards"):
    return {
        "threshold": threshold,
        "rules": strict.to_json(rules or FilterRules()),
        "job_rules": strict.to_json(job_rules or JobRules()),
        "write": write,
    }


RULES = (
    FilterRules(),
    FilterRules(min_words=2, min_side=9),
    FilterRules(min_itc=0.123),
    FilterRules(keep="best-1", min_itc=0.1),
)


@settings(deadline=None, max_examples=60)
@given(
    groups=st.lists(samples(), min_size=1, max_size=3),
    rules=st.sampled_from(RULES),
    job=st.sampled_from((0.5, 0.499999, 0.7123)),
    itm=st.integers(0, 200),
    itc=st.integers(0, 200),
)
def test_every_pair_of_thresholds_keeps_what_deciding_again_keeps(groups, rules, job, itm, itc):
    found = Thresholds.of_job(job_settings(job, rules))
    for group in groups:
        table = records_to_table([record for sample in group for record in sample])
        found.add(table, show=True)
    itm, itc = itm % len(found.itm), itc % len(found.itc)
    if len(found.itc) > 1:
        least = float(found.itc[itc])
        rules = FilterRules(min_words=rules.min_words, min_side=rules.min_side, min_itc=least)
    for threshold in (itm, found.itm.tolist().index(job)):
        for source in ("web", "synthetic"):
            kept = sum(
                one.kept and one.source == source
                for group in groups
                for sample in group
                for one in decide_records(sample, float(found.itm[threshold]), rules)
            )
            assert found.counts[source][threshold:, itc:].sum() == kept


def test_thresholds_are_what_their_digits_are_read_as():
    found = Thresholds.of_job(job_settings())
    assert found.itm.tolist() == [float(f"{n / 200:.3f}") for n in range(201)]
    assert found.itc.tolist() == [float(f"{n / 100:.2f}") for n in range(-100, 101)]


def many(number):
    scores = np.random.default_rng(0).random(number).round(6).tolist()
    return [record(f"{n:06d}", "web", 0, f"text {n}", score) for n, score in enumerate(scores)]


def test_a_job_of_any_size_has_few_examples_and_from_every_range():
    found = Thresholds.of_job(job_settings())
    records = many(6000)
    for start in range(0, 6000, 1500):
        found.add(records_to_table(records[start : start + 1500]), show=True)
    chosen = found.chosen()
    ranges = [int(one.itm_score * RANGES) for one in chosen if one.itm_score is not None]
    assert np.bincount(ranges).tolist() == [EXAMPLES] * RANGES
    # Sampled over the whole job, not its first texts.
    assert {int(one.key) // 1500 for one in chosen} == {0, 1, 2, 3}
    page = thresholds_for_page(found, job_settings(), {"web": 6000, "synthetic": 0}, {})
    assert len(to_script(page)) < 200_000
    assert sum(count for *_, count in page["counts"]["web"]) == 6000


@pytest.mark.parametrize(
    ("rules", "job_rules", "write", "options"),
    [
        (FilterRules(), JobRules(), "shards", ""),
        (FilterRules(min_itc=0.2), JobRules(), "texts", "--write texts"),
        (
            FilterRules(keep="best-2", min_itc=0.2, languages=("en", "ko"), max_aspect=2.5),
            JobRules(unique_images=0, unique_texts=True),
            "shards",
            "--keep best-2 --min-itc 0.2 --languages en ko --max-aspect 2.5 --unique-images 0"
            " --unique-texts",
        ),
    ],
)
def test_the_other_rules_of_the_job_are_options_of_the_command(rules, job_rules, write, options):
    of_job = job_settings(0.5, rules, job_rules, write)
    page = thresholds_for_page(Thresholds.of_job(of_job), of_job, {"web": 0, "synthetic": 0}, {})
    assert " ".join(page["options"]) == options
    assert page["whole_job"] is job_rules.any


@given(text=st.text(st.characters()) | st.just("</script><!--<script>\u2028\u202e\x00\x7f'\"&"))
def test_json_in_a_script_holds_any_text_and_cannot_end_it(text):
    written = str(to_script({text: [text]}))
    assert written.isascii()
    assert not set(written) & set("<>&\n\r")
    assert json.loads(written) == {text: [text]}
