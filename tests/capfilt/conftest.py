"""Captioner and filter of the tests that run the command."""

from tests.support.capfilt_command import models

__all__ = ["models"]
