"""Momentum encoders and queues of released checkpoints for pre-training and retrieval."""

from collections.abc import Mapping

import torch
from torch import Tensor

from blip.model.checkpoint.assemble import Faults, not_real, shapes_of
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
from blip.model.make import make_model

_POSITION_IDS = "text_encoder_m.embeddings.position_ids"


def momentum_from_original(
    config: ModelConfig, state: Mapping[str, Tensor], where: str
) -> dict[str, Tensor]:
    """Momentum encoders under our names, queues under their own; empty where `state` is.

    Raises BlipError with the list of all tensors that are missing, unexpected or misshapen.
    """
    if not state:
        return {}
    layout = _layout(config)
    encoders = {name: t for name, t in state.items() if name not in (*QUEUES, _POSITION_IDS)}
    queues = {name: tensor for name, tensor in state.items() if name in QUEUES}
    with torch.device("meta"):
        expected = shapes_of(to_original(Names(layout), make_model(config).state_dict()))
    faults = Faults(unreal=not_real(encoders.items()))
    faults.compare(expected, shapes_of(encoders))
    faults.misshapen += [
        f"{name} {tuple(tensor.shape)} instead of ({config.projection}, ...)"
        for name, tensor in queues.items()
        if name in ("image_queue", "text_queue")
        and (tensor.dim() != 2 or len(tensor) != config.projection)
    ]
    faults.raise_any(where)
    return from_original(layout, encoders) | queues


def momentum_to_original(config: ModelConfig, momentum: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Undo `momentum_from_original`."""
    if not momentum:
        return {}
    encoders = to_original(Names(_layout(config), position_ids=(_POSITION_IDS,)), momentum)
    return encoders | {name: tensor for name, tensor in momentum.items() if name in QUEUES}


def _layout(config: ModelConfig) -> Layout:
    """The momentum encoders with the cross-attention that the release stores and never reads."""
    text = encoder_layout(config.text.depth, prefix="text_encoder_m")
    return momentum_layout(config) | text
