"""A polite request to stop: SIGTERM or Ctrl-C lets the step finish and a checkpoint be written."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from blip.log import say


class StopRequest:
    """Whether the run was asked to stop, and by which signal."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.interrupted = False
        """Whether Ctrl-C was among them."""


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn SIGTERM and the first SIGINT into a request; a second SIGINT stops at once."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if request.interrupted and number == signal.SIGINT:
            raise KeyboardInterrupt
        request.interrupted = request.interrupted or number == signal.SIGINT
        request.signal = signal.Signals(number)
        say(f"{request.signal.name}: finishing this step, then writing a checkpoint")

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
