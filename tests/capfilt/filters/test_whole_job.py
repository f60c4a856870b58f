"""Rules of a whole job: repeated texts, images and texts seen before."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from blip.capfilt.filters.config import FilterRules, JobRules
from blip.capfilt.filters.decide import decide, overrule
from blip.capfilt.filters.whole_job import judge_job, text_hash
from blip.capfilt.ledger.files import SCHEMA, records_to_table
from blip.capfilt.ledger.records import TextRecord
from blip.data.captions import clean_caption
from tests.support.records import record, samples


def judged(shards: list[list[TextRecord]], rules: JobRules) -> tuple[list[str], list[int | None]]:
    """Reasons and repeats of all rows."""
    tables = [decide(records_to_table(rows), 0.5, FilterRules()) for rows in shards]
    verdicts, reasons, repeats, offset = judge_job(iter(tables), rules), [], [], 0
    for table in tables:
        mine = verdicts.part(offset, offset + table.num_rows)
        offset += table.num_rows
        kept = np.asarray(table["kept"].to_numpy())
        assert not mine.numbers[~kept].any(), "only what was kept is judged"
        after = overrule(table, mine.numbers, mine.repeats)
        assert after.schema == SCHEMA
        reasons += after["reason"].to_pylist()
        repeats += after["repeats"].to_pylist()
        assert after["kept"].to_pylist() == [r == "match" for r in after["reason"].to_pylist()]
        assert decide(after, 0.5, FilterRules()) == table, "nothing of it is remembered"
    assert offset == len(verdicts.numbers) == len(verdicts.repeats)
    return reasons, repeats


def by_loop(found: list[list[TextRecord]], rules: JobRules) -> list[str]:
    flat = [r for sample in found for r in sample]
    scored = [clean_caption(r.text) for r in flat if r.itm_score is not None]
    images: list[int] = []
    texts: set[str] = set()
    result = []
    for sample in found:
        kept = [r.itm_score is not None and r.itm_score >= 0.5 for r in sample]
        often = [
            rules.max_repeats is not None
            and r.itm_score is not None
            and scored.count(clean_caption(r.text)) > rules.max_repeats
            for r in sample
        ]
        image, known = sample[0].image_hash, False
        has_text = any(k and not o for k, o in zip(kept, often, strict=True))
        if rules.unique_images is not None and image is not None and has_text:
            known = any((image ^ one).bit_count() <= rules.unique_images for one in images)
            images += [] if known else [image]
        for row, is_kept, is_often in zip(sample, kept, often, strict=True):
            text = clean_caption(row.text)
            if not is_kept:
                result.append("below_threshold" if row.itm_score is not None else row.reason)
            elif is_often:
                result.append("repeated_text")
            elif known:
                result.append("duplicate_image")
            elif rules.unique_texts and text in texts:
                result.append("duplicate_text")
            else:
                result.append("match")
                texts.add(text)
    return result


@settings(max_examples=150, deadline=None)
@given(
    found=samples(12),
    cut=st.integers(0, 12),
    rules=st.builds(
        JobRules,
        max_repeats=st.sampled_from([None, 1, 3]),
        unique_images=st.sampled_from([None, 0, 2]),
        unique_texts=st.booleans(),
    ),
)
def test_sorting_and_loop_agree_wherever_shards_are_cut(found, cut, rules):
    halves = [found[:cut], found[cut:]]
    shards = [[r for sample in half for r in sample] for half in halves]
    reasons, repeats = judged(shards, rules)
    assert reasons == by_loop(found, rules)
    flat = [r for sample in found for r in sample]
    scored = [clean_caption(r.text) for r in flat if r.itm_score is not None]
    assert repeats == [
        None if r.itm_score is None else scored.count(clean_caption(r.text)) for r in flat
    ]


def test_texts_are_the_same_as_the_models_read_them():
    assert text_hash("A red  square!") == text_hash("a red square")
    assert text_hash("a red square") != text_hash("a red squares")
    twice = [record(key, "web", 0, text, 0.9) for key, text in (("a", "Red."), ("b", "red"))]
    expected = ["match", "duplicate_text"], [2, 2]
    assert judged([twice], JobRules(unique_texts=True)) == expected


def test_no_ledgers_have_no_verdicts():
    verdicts = judge_job(iter([]), JobRules(unique_texts=True, unique_images=3))
    assert len(verdicts.numbers) == len(verdicts.repeats) == 0
