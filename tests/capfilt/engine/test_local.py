"""Engines: all items once, in whatever order; deaths and errors are reported."""

import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Generator
from multiprocessing.process import BaseProcess

import pytest

from blip.capfilt.engine.local import InlineEngine, LocalEngine
from blip.capfilt.engine.protocol import Done, Failed, News
from blip.errors import UsageError
from tests.support.squares import make_worker, refuse, results


@pytest.mark.parametrize("engine", [InlineEngine(), LocalEngine(2)])
def test_all_items_are_done_once_with_their_news(engine):
    outcomes = list(engine.run([3, 4, 5, 6, 7], make_worker))
    assert results(outcomes) == {3: 9, 4: 16, 5: 25, 6: 36, 7: 49}
    kinds = Counter((type(o), o.item) for o in outcomes)
    assert set(kinds.values()) == {1}
    assert len(kinds) == 10
    for item in (3, 7):
        about = [o for o in outcomes if o.item == item]
        assert about[0] == News(item, f"begin {item}")


def test_local_workers_are_other_processes_as_many_as_asked():
    outcomes = list(LocalEngine(2).run([1, 2, 3, 4, 5, 6], make_worker))
    pids = {o.result[1] for o in outcomes if isinstance(o, Done)}
    assert os.getpid() not in pids
    assert len(pids) <= 2
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("engine", [InlineEngine(), LocalEngine(2)])
def test_an_error_costs_its_item_alone(engine):
    outcomes = list(engine.run([1, -2, 99, 3], make_worker))
    assert results(outcomes) == {1: 1, 3: 9}
    failed = {o.item: o for o in outcomes if isinstance(o, Failed)}
    assert failed[-2] == Failed(-2, "raised", "ValueError: negative number", fatal=False)
    assert failed[99] == Failed(99, "raised", "the disk is full", fatal=True)


def test_a_worker_that_dies_is_reported_with_its_item_and_replaced():
    outcomes = list(LocalEngine(2).run([66, 1, 2, 66, 3], make_worker))
    assert results(outcomes) == {1: 1, 2: 4, 3: 9}
    failed = [o for o in outcomes if isinstance(o, Failed)]
    assert [(o.item, o.kind) for o in failed] == [(66, "died")] * 2
    assert "SIGKILL" in failed[0].error


@pytest.mark.parametrize("engine", [InlineEngine(), LocalEngine(2)])
def test_a_worker_that_cannot_be_made_ends_the_run(engine):
    with pytest.raises(UsageError, match="no such checkpoint"):
        list(engine.run([1, 2], refuse))
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("engine", [InlineEngine(), LocalEngine(2)])
def test_nothing_to_do_makes_no_worker(engine):
    assert list(engine.run([], refuse)) == []


def test_closing_stops_workers_that_are_at_work():
    outcomes = LocalEngine(2).run([55, 55], make_worker)
    next(iter(outcomes))
    assert multiprocessing.active_children()
    assert isinstance(outcomes, Generator)
    outcomes.close()
    assert not multiprocessing.active_children()


def test_workers_ignore_ctrl_c_from_their_first_moment(capfd, monkeypatch):
    start = BaseProcess.start

    def start_and_interrupt(process):
        start(process)
        os.kill(process.pid, signal.SIGINT)

    monkeypatch.setattr(BaseProcess, "start", start_and_interrupt)
    outcomes = list(LocalEngine(2).run([1, 2, 3], make_worker))
    assert results(outcomes) == {1: 1, 2: 4, 3: 9}
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert "Traceback" not in capfd.readouterr().err
