"""How the text transformer reads; loads no torch, so that configurations may name it."""

from typing import Literal

Mode = Literal["bidirectional", "causal"]
"""As an encoder or as a decoder."""

BOTH_MODES: tuple[Mode, ...] = ("bidirectional", "causal")
