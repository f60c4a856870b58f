"""Rules refuse what cannot work."""

import pytest

from blip.capfilt.filters.config import FilterRules, JobRules


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"keep": "best"}, "keep must be all or best-N such as best-1, got best"),
        ({"keep": "best-0"}, "got best-0"),
        ({"min_itc": 2.0}, r"min_itc must lie in \[-1, 1\], got 2.0"),
        ({"min_words": 0}, "min_words must be positive, got 0"),
        ({"min_words": 5, "max_words": 4}, r"must not be below min_words \(5\), got 4"),
        ({"max_aspect": 0.5}, "max_aspect must be at least 1, got 0.5"),
        ({"max_aspect": float("nan")}, "max_aspect must be at least 1, got nan"),
        ({"languages": ("english",)}, "two letters such as en, got english"),
    ],
)
def test_wrong_rules_are_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        FilterRules(**wrong)


@pytest.mark.parametrize("wrong", [{"max_repeats": 0}, {"unique_images": 9}, {"unique_images": -1}])
def test_wrong_rules_of_a_job_are_refused(wrong):
    with pytest.raises(ValueError, match=str(next(iter(wrong.values())))):
        JobRules(**wrong)


def test_nothing_is_asked_for_by_default():
    assert FilterRules().best is None
    assert FilterRules(keep="best-3").best == 3
    assert not JobRules().any
    assert JobRules(unique_texts=True).any
