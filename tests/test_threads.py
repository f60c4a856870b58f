"""Threads give results in order; an error or Ctrl-C ends the wait for them at once."""

import subprocess
import sys
import threading
from queue import SimpleQueue

import pytest

from blip.threads import do_within, is_left, map_in_threads

INTERRUPTED = """
import os, signal, threading
from blip.threads import map_in_threads

def work(number):
    if number:
        # To the process, as Ctrl-C is, not to this thread.
        os.kill(os.getpid(), signal.SIGINT)
    threading.Event().wait()

signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    map_in_threads(work, range(4), 2)
except KeyboardInterrupt:
    print("stopped")
"""


def test_results_come_in_order():
    both = threading.Barrier(2)

    def work(number: int) -> int:
        both.wait(timeout=60)
        return 2 * number

    assert map_in_threads(work, range(6), 2) == [0, 2, 4, 6, 8, 10]
    assert map_in_threads(work, [], 2) == []
    assert do_within(60, lambda: 1) == 1


def test_the_first_error_is_raised_and_no_more_work_is_begun():
    begun: list[int] = []
    stop = threading.Event()

    def work(number: int) -> None:
        begun.append(number)
        if number == 0:
            raise ValueError("of the first")
        stop.wait(60)

    with pytest.raises(ValueError, match="of the first"):
        map_in_threads(work, range(100), 2)
    stop.set()
    assert len(begun) < 100


def test_work_learns_that_nobody_waits_for_it_any_more():
    assert not is_left()
    assert map_in_threads(lambda _: do_within(60, is_left), range(3), 2) == [False] * 3
    begun, ended = threading.Event(), threading.Event()
    learnt: SimpleQueue[bool] = SimpleQueue()

    def work() -> None:
        begun.set()
        ended.wait(60)
        learnt.put(is_left())

    def wait(number: int) -> None:
        if number:
            begun.wait(60)
            raise ValueError("of the other")
        do_within(60, work)

    with pytest.raises(ValueError, match="of the other"):
        map_in_threads(wait, [1, 0], 2)
    with pytest.raises(TimeoutError):
        do_within(0.01, work)
    ended.set()
    assert [learnt.get(timeout=60) for _ in range(2)] == [True, True]
    assert not is_left()


def test_ctrl_c_ends_a_program_whose_threads_wait():
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "stopped\n"
