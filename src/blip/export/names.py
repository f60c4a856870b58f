"""What graphs, their inputs and their outputs are called; needs no library of ONNX."""

from typing import Literal

from blip.model.config import ModelConfig
from blip.model.parts import SHARED_PARTS

GraphName = Literal[
    "image_encoder",
    "image_features",
    "image_kv",
    "image_kv_decoder",
    "text_encoder",
    "matching",
    "decoder",
]
"""`image_kv` serves the decoder as well, unless the model has an `image_kv_decoder`."""
LEAST, GREATEST = "least:", "greatest:"
"""How outputs begin that give the range of what a weight is multiplied by; its name follows."""


def decoder_kv(config: ModelConfig) -> GraphName:
    """The graph that gives the keys and values which the decoder attends to."""
    shared = SHARED_PARTS[config.sharing].cross_attention or "bidirectional" not in config.modes
    return "image_kv" if shared else "image_kv_decoder"


def kv_names(prefix: str, layers: int) -> tuple[str, ...]:
    """Names of keys and values, layer by layer."""
    return tuple(f"{prefix}{kind}.{n}" for n in range(layers) for kind in ("key", "value"))
