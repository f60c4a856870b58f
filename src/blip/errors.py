"""Errors that a user sees as one line, without a traceback."""

INTERRUPTED = 130
"""Exit status after Ctrl-C."""
_OUT_OF_MEMORY = (
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "out of memory",
)
"""Parts of torch's messages: on a CPU it raises a plain RuntimeError when memory runs out."""


class BlipError(Exception):
    """The work cannot be done; the message says why and what to do. Exit status 1."""

    is_printed_elsewhere = False
    """Whether another process of the same work prints it: this one ends without a word."""


class UsageError(BlipError):
    """An argument or a configuration is wrong: key, value and what is allowed. Exit status 2."""


class ArgumentError(UsageError, ValueError):
    """A value passed to a function is wrong. To Python callers it is a ValueError as well."""


class NotFiniteError(BlipError, ValueError):
    """A model gave NaN where a number is needed; its weights are broken, or its values overflow."""


class CompileError(BlipError):
    """torch cannot compile a model's passes here, or a GPU cannot capture them."""


class StoppedError(BlipError):
    """The work stopped in an orderly way after a signal; the same command resumes it.

    The exit status is 0 after SIGTERM, which schedulers send, and 130 after Ctrl-C.
    """

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


def first_line(error: Exception) -> str:
    """The first line of a library's error message, or the name of the error if it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def one_line(error: Exception) -> str:
    """The message of an error, with its type unless it is one of ours."""
    text = " ".join(str(error).split())
    return text if isinstance(error, BlipError) else f"{type(error).__name__}: {text}"


def plain(text: str) -> str:
    """A text as one line that any terminal can show: control characters are escaped."""
    joined = " ".join(text.split()) if "\n" in text or "\r" in text else text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in joined)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python or torch means that memory ran out."""
    no_memory = any(words in str(error).lower() for words in _OUT_OF_MEMORY)
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and no_memory)
