"""Counts of samples and texts add up."""

import json

import pytest

from blip.capfilt.filters.config import FilterRules
from blip.capfilt.ledger.columns import count_table
from blip.capfilt.ledger.files import records_to_table
from blip.capfilt.ledger.records import Counts
from blip.errors import BlipError
from tests.support.records import decide_records, record


def test_an_image_without_a_text_had_none_to_drop():
    rows = [
        record("a", "web", 0, "t", 0.75),
        record("b", "web", 0, "t", 0.25),
        record("c", "web", 0, "", None, reason="missing_text"),
        record("c", "synthetic", 0, "t", 0.25),
    ]
    counts = count_table(records_to_table(decide_records(rows, 0.5, FilterRules())))
    counts.check(3)
    assert counts.web_dropped == 2
    assert (counts.texts("web"), counts.texts("synthetic")) == ((1, 1), (0, 1))


def test_counts_add_up_and_survive_json():
    records = [
        record("a", "web", 0, "t", 0.75),
        record("a", "synthetic", 0, "t", 0.25),
        record("b", "web", 0, "", None),
        record("c", "bad", 0, "", None, reason="truncated_image", size=None),
    ]
    counts = count_table(records_to_table(decide_records(records, 0.5, FilterRules())))
    counts.check(3)
    assert (counts.images_kept, counts.images_dropped, counts.images_bad) == (1, 1, 1)
    assert (counts.web_kept, counts.web_dropped, counts.synthetic_dropped) == (1, 1, 1)
    again = Counts.from_json(json.loads(json.dumps(counts.to_json())))
    assert again == counts
    again.add(counts)
    again.check(6)
    with pytest.raises(BlipError):
        counts.check(4)
