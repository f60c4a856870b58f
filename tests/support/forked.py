"""Processes of tests, forked from one that has imported torch and blip already.

One that starts anew spends over a second on imports, and the tests start a hundred. What a process
is given, does and dies of is the same. Tests of engines, of signals and of `python -m blip` start
theirs anew.
"""

import multiprocessing
import os
import runpy
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from unittest.mock import patch

IMPORTED = [
    "torch",
    # Making an optimiser imports it, which takes a second.
    "torch._dynamo",
    "blip.bootstrap",
    "blip.capfilt.job",
    "blip.cli.main",
    "tests.support.capfilt",
    "tests.support.dist_program",
    "tests.support.toy_training",
    "transformers.models.blip.modeling_blip",
]


def import_before_forks() -> None:
    """Tell the server of forks, which starts when it is first needed, what to import."""
    multiprocessing.set_forkserver_preload(IMPORTED)


@contextmanager
def forks_for_spawns() -> Iterator[None]:
    """Processes that are to start anew are forked instead."""
    get_context = multiprocessing.get_context

    def get_forking(method: str | None = None):
        return get_context("forkserver" if method == "spawn" else method)

    with patch.object(multiprocessing, "get_context", get_forking):
        yield


def start_forked(work: Callable[..., object], *arguments: object) -> BaseProcess:
    """A process that does some work, and that Ctrl-C reaches."""
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=_reachable, args=(work, *arguments))
    process.start()
    return process


def _reachable(work: Callable[..., object], *arguments: object) -> None:
    """The server of forks may have started beside a worker, from which SIGINT is kept away."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    work(*arguments)


def run_command(arguments: list[str], output: Path) -> None:
    """The work of a process: the command `blip`, which writes what it prints to a file."""
    from blip.cli.main import main

    write_to(output)
    sys.exit(main(arguments))


def run_module(name: str, output: Path) -> int | None:
    """The exit status of a module run as the main one, in a process whose words go to a file."""
    process = start_forked(_be_main, name, output)
    process.join()
    return process.exitcode


def _be_main(name: str, output: Path) -> None:
    write_to(output)
    runpy.run_module(name, run_name="__main__")


def write_to(output: Path) -> None:
    """All that this process and its children print is added to a file."""
    with output.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
