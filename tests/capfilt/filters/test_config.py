"""Rules refuse what cannot work."""

from pathlib import Path

import pytest

from blip.capfilt.filters.config import LANGUAGES, FilterRules, JobRules


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"keep": "best"}, "`keep` is best; allowed: all, or best-N such as best-1"),
        ({"keep": "best-0"}, "`keep` is best-0; allowed"),
        ({"min_itc": 2.0}, "`min_itc` is 2.0; allowed: a finite number from -1 to 1"),
        ({"min_words": 0}, "`min_words` is 0; allowed: a whole number from 1 "),
        ({"min_words": 5, "max_words": 4}, "`max_words` is 4; allowed: a whole number from 5 "),
        ({"max_aspect": 0.5}, "`max_aspect` is 0.5; allowed: a finite number of at least 1"),
        (
            {"max_aspect": float("nan")},
            "`max_aspect` is nan; allowed: a finite number of at least 1",
        ),
        (
            {"languages": ("english",)},
            r"^`languages` is english; allowed: two letters of ISO 639-1 that py3langid knows, "
            r"such as en or ko \(did you mean en\?\)$",
        ),
        (
            {"languages": ("en", "zz")},
            "^`languages` is zz; allowed: two letters of ISO 639-1 that py3langid knows, such as "
            "en or ko$",
        ),
    ],
)
def test_wrong_rules_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        FilterRules(**wrong)


@pytest.mark.parametrize("wrong", [{"max_repeats": 0}, {"unique_images": 9}, {"unique_images": -1}])
def test_wrong_rules_of_a_job_are_refused(wrong):
    with pytest.raises(ValueError, match=str(next(iter(wrong.values())))):
        JobRules(**wrong)


def test_languages_are_those_that_the_library_detects():
    langid = pytest.importorskip("py3langid.langid")
    langid.classify("a text loads its model")
    assert sorted({code for code in langid.IDENTIFIER.nb_classes if len(code) == 2}) == sorted(
        LANGUAGES
    )


def test_the_documentation_lists_all_languages():
    page = (Path(__file__).parents[3] / "docs/capfilt.md").read_text(encoding="utf-8")
    listed = page.partition("`--languages` takes these codes: ")[2].partition(".")[0]
    assert set(listed.split()) == LANGUAGES


def test_nothing_is_asked_for_by_default():
    assert FilterRules().best is None
    assert FilterRules(keep="best-3").best == 3
    assert not JobRules().any
    assert JobRules(unique_texts=True).any
