"""Errors that are for the person at the keyboard: one line, no traceback."""


class BlipError(Exception):
    """The work cannot be done; the message says why and what to do. Exit status 1."""


class UsageError(BlipError):
    """An argument or a configuration is wrong: key, value and what is allowed. Exit status 2."""
