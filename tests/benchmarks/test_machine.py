"""Rounds end in time."""

import pytest

from benchmarks import machine


@pytest.mark.parametrize(
    ("seconds_of_a_round", "begun"), [(1.0, 5), (60.0, 4), (100.0, 2), (150.0, 1), (900.0, 1)]
)
def test_no_round_is_begun_that_might_not_end_in_time(
    monkeypatch: pytest.MonkeyPatch, seconds_of_a_round: float, begun: int
) -> None:
    now = machine.BEGUN + 30.0
    monkeypatch.setattr(machine.time, "monotonic", lambda: now)
    count = 0
    for _ in machine.rounds(5):
        now += seconds_of_a_round
        count += 1
    assert count == begun
