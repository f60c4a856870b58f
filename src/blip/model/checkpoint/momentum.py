"""Momentum encoders and queues that lie in released checkpoints for pre-training and retrieval."""

from collections.abc import Mapping

from torch import Tensor

from blip.model.checkpoint.assemble import Faults, shapes_of
from blip.model.checkpoint.original import (
    QUEUES,
    Layout,
    Names,
    encoder_layout,
    from_original,
    momentum_layout,
    to_original,
)
from blip.model.config import ModelConfig

_POSITION_IDS = "text_encoder_m.embeddings.position_ids"


def momentum_from_original(
    config: ModelConfig, state: Mapping[str, Tensor], where: str
) -> dict[str, Tensor]:
    """Momentum encoders under our names, queues under their own; nothing from nothing.

    Raises BlipError with the list of what is missing or does not belong there.
    """
    if not state:
        return {}
    layout = _layout(config)
    encoders = {name: t for name, t in state.items() if name not in (*QUEUES, _POSITION_IDS)}
    expected = [name for names in layout.values() for name in names]
    faults = Faults()
    faults.compare(
        {name: tuple(encoders[name].shape) if name in encoders else () for name in expected},
        shapes_of(encoders),
    )
    faults.raise_any(where)
    queues = {name: tensor for name, tensor in state.items() if name in QUEUES}
    return from_original(layout, encoders) | queues


def momentum_to_original(config: ModelConfig, momentum: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Undo `momentum_from_original`."""
    if not momentum:
        return {}
    encoders = to_original(Names(_layout(config), position_ids=(_POSITION_IDS,)), momentum)
    return encoders | {name: tensor for name, tensor in momentum.items() if name in QUEUES}


def _layout(config: ModelConfig) -> Layout:
    """With the cross-attention that the release's momentum encoder has and nothing reads."""
    text = encoder_layout(config.text.depth, theirs="text_encoder_m")
    return momentum_layout(config) | text
