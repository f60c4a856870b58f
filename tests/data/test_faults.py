"""Bad samples are counted by kind; the first ones are named."""

import json

import pytest

from blip.data import faults
from blip.data.faults import BadSamples, Fault


def test_all_are_counted_and_the_first_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "NAMED", 3)
    bad = BadSamples()
    assert (bool(bad), bad.describe()) == (False, "")
    bad.add([Fault("0.tar", "a", "broken_row: a quote is not closed"), Fault("0.tar", "b", "x")])
    other = BadSamples()
    other.add(Fault("1.tar", str(n), "x") for n in range(4))
    bad.update(other)
    assert bad.counts == {"broken_row": 1, "x": 5}
    assert [fault.key for fault in bad.first] == ["a", "b", "0"]
    expected = "broken_row 1, x 5 (0.tar a broken_row: a quote is not closed, 0.tar b x, 1.tar 0 x"
    assert bad.describe() == f"{expected}, ...)"


def test_names_can_be_written_and_printed() -> None:
    bad = BadSamples()
    bad.add([Fault("\udcff.tar", "a\0\n", "unreadable")])
    json.dumps(bad.first, ensure_ascii=False).encode()
    assert "\n" not in bad.describe()
