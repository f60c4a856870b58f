"""Errors that are for the person at the keyboard: one line, no traceback."""

INTERRUPTED = 130
"""Exit status after Ctrl-C."""
_REFUSALS = ("can't allocate memory", "not enough memory", "out of memory")
"""How torch says it on a CPU, where it has no error of its own for it, and on a GPU."""


class BlipError(Exception):
    """The work cannot be done; the message says why and what to do. Exit status 1."""


class UsageError(BlipError):
    """An argument or a configuration is wrong: key, value and what is allowed. Exit status 2."""


class ArgumentError(UsageError, ValueError):
    """A value passed to a function is wrong. To Python callers it is a ValueError as well."""


class NotFiniteError(BlipError, ValueError):
    """A model gave NaN where a number is needed; its weights are broken, or its values overflow."""


class StoppedError(BlipError):
    """The work was asked to stop, and did so in an orderly way; the same command goes on.

    The exit status is 0 after SIGTERM, which schedulers send, and 130 after Ctrl-C.
    """

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


def first_line(error: Exception) -> str:
    """What an error of others says, short enough for a line of ours; its name, if it is mute."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def plain(text: str) -> str:
    """A text as one line that any terminal can show: control characters are escaped."""
    joined = " ".join(text.split()) if "\n" in text or "\r" in text else text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in joined)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, of Python or of torch, says that there is no memory."""
    refused = any(words in str(error).lower() for words in _REFUSALS)
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and refused)
