"""Starts processes that leave Ctrl-C to their parent, from their first moment on."""

import signal
from multiprocessing.process import BaseProcess


def start(process: BaseProcess) -> None:
    """Start a process that never receives SIGINT.

    Ctrl-C reaches all processes of a terminal. One that is still importing has no handler yet, and
    would show a traceback; the parent alone answers it, and tells its children what to do.
    """
    # A signal that comes meanwhile waits for the old mask, which the child does not have.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
