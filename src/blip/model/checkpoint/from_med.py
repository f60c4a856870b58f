"""Models for other tasks that start from a pre-trained MED, whose parts they are made of."""

import re
from dataclasses import replace

from torch import Tensor

from blip.model.blip import Blip
from blip.model.config import ModelConfig
from blip.model.question import QuestionModel
from blip.nn.mode import BOTH_MODES

_COPY = re.compile(r"\.copies\.(bidirectional|causal)\.")


def question_config(med: ModelConfig, drop_path: float) -> ModelConfig:
    """The sizes of a model for questions made of a MED's parts."""
    vision = replace(med.vision, drop_path=drop_path)
    return replace(med, vision=vision, architecture="vqa", sharing="nothing")


def start_questions(med: Blip, drop_path: float = 0.0) -> tuple[QuestionModel, list[str]]:
    """A model for questions with the weights of a MED, and the tensors that stay newly initialised.

    Encoder and decoder, which share nothing, each get the MED's weights; the language head is the
    MED's. The decoder's cross-attention reads states of the text's width: where the image has
    another one (ViT-L) its keys and values stay as they were initialised, as in the original
    release. Raises UsageError for a MED without encoder or without decoder.
    """
    for mode in BOTH_MODES:
        med.require(mode)
    model = QuestionModel(question_config(med.config, drop_path))
    given, own = med.state_dict(), model.state_dict()
    fresh: list[str] = []
    for name, tensor in own.items():
        source = _find(given, name)
        if source is None or source.shape != tensor.shape:
            fresh.append(name)
        else:
            own[name] = source.detach().clone()
    model.load_state_dict(own)
    return model, fresh


def with_drop_path(model: QuestionModel, drop_path: float) -> QuestionModel:
    """The same model with another stochastic depth of its image encoder."""
    vision = replace(model.config.vision, drop_path=drop_path)
    changed = QuestionModel(replace(model.config, vision=vision))
    changed.load_state_dict(model.state_dict())
    return changed


def pair_tensors(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A MED's tensors for a `PairModel`: both cross-attentions start from its one.

    Names are ours. The result has the parts that both models have: merge layers and head keep their
    initial weights.
    """
    copied: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if not name.startswith(("vision.", "text.")) or ".causal." in name:
            continue
        if ".read." in name:
            for side in ("left", "right"):
                copied[name.replace(".read.", f".{side}.")] = tensor
        else:
            copied[name] = tensor
    return copied


def _find(given: dict[str, Tensor], name: str) -> Tensor | None:
    """The MED's tensor of a name in a model that shares nothing."""
    shared = _COPY.sub(".copies.both.", name)
    return given.get(name, given.get(shared))
