"""Engines on this machine: in this process, or in processes of its own."""

import multiprocessing
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, final

from blip.capfilt.engine.protocol import Failed, Item, MakeWorker, News, Outcome, Result
from blip.capfilt.engine.work import refusal, work
from blip.errors import BlipError
from blip.processes import end_with_parent, start_process

SECONDS_TO_STOP = 5.0


@final
class InlineEngine:
    """One item after the other, in this process."""

    def run(
        self, items: Sequence[Item], make_worker: MakeWorker[Item, Result]
    ) -> Iterator[Outcome[Item, Result]]:
        """Do all items in their order."""
        if not items:
            return
        worker = make_worker(0)
        for item in items:
            yield from work(worker, item)


@final
class LocalEngine:
    """Several processes; one that dies costs its item and is replaced.

    Not a ProcessPoolExecutor: where one of its processes dies, it loses all items under way.
    """

    def __init__(self, workers: int) -> None:
        """`workers` processes at most, fewer where there are fewer items."""
        self.workers = workers

    def run(
        self, items: Sequence[Item], make_worker: MakeWorker[Item, Result]
    ) -> Iterator[Outcome[Item, Result]]:
        """Do all items; the processes are gone when the iterator ends or is closed."""
        waiting = deque(items)
        crew: dict[Connection, _Member] = {}
        try:
            for place in range(min(self.workers, len(waiting))):
                _hire(crew, place, make_worker, waiting.popleft())
            while crew:
                for connection in wait(list(crew)):
                    assert isinstance(connection, Connection)
                    outcome = _receive(crew[connection])
                    yield outcome
                    if isinstance(outcome, News):
                        continue
                    member = crew[connection]
                    if isinstance(outcome, Failed) and outcome.kind == "died":
                        del crew[connection]
                        member.stop()
                        if waiting:
                            _hire(crew, member.place, make_worker, waiting.popleft())
                    elif waiting:
                        member.give(waiting.popleft())
                    else:
                        del crew[connection]
                        member.stop()
        finally:
            for member in crew.values():
                member.process.terminate()
            for member in crew.values():
                member.stop()


@dataclass(slots=True)
class _Member:
    """A worker process as its driver sees it."""

    place: int
    process: BaseProcess
    connection: Connection
    item: Any

    def give(self, item: Any) -> None:
        self.item = item
        # Where the process has ended, the next receive reports that with the item.
        with suppress(OSError):
            self.connection.send(item)

    def stop(self) -> None:
        self.connection.close()
        # All its results are on the disk; an orderly exit of Python would take seconds.
        self.process.terminate()
        self.process.join(SECONDS_TO_STOP)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _hire(crew: dict[Connection, _Member], place: int, make_worker: Any, item: Any) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(
        target=_serve, args=(theirs, make_worker, place), name=f"capfilt-{place}", daemon=True
    )
    start_process(process)
    # With one end open on each side, either notices when the other ends.
    theirs.close()
    member = _Member(place, process, ours, item)
    crew[ours] = member
    member.give(item)


def _receive(member: _Member) -> Outcome[Any, Any]:
    """The next outcome that a worker sends, or that its process ended."""
    try:
        message = member.connection.recv()
    except (EOFError, OSError):
        member.process.join(SECONDS_TO_STOP)
        return Failed(
            member.item, "died", f"its process ended, {_describe_exit(member.process.exitcode)}"
        )
    if isinstance(message, BlipError):
        raise message
    return message


def _describe_exit(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit status {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
    return f"killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def _serve(connection: Connection, make_worker: MakeWorker[Any, Any], place: int) -> None:
    """A worker process: make a worker, then do items until the connection closes."""
    end_with_parent()
    try:
        try:
            worker = make_worker(place)
        except Exception as error:
            connection.send(refusal(error))
            return
        while True:
            item = connection.recv()
            for outcome in work(worker, item):
                connection.send(outcome)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
