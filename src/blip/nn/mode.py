"""The modes of the text transformer; loads no torch, so that configurations can use it."""

from typing import Literal

Mode = Literal["bidirectional", "causal"]
"""As an encoder or as a decoder."""

BOTH_MODES: tuple[Mode, ...] = ("bidirectional", "causal")
