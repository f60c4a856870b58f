"""Models for other tasks that start from a pre-trained MED, whose parts they are made of."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from blip.model.blip import Blip
from blip.model.config import ModelConfig
from blip.model.dialogue import DialogueModel
from blip.model.pair import PairModel
from blip.model.question import QuestionModel
from blip.nn.mode import BOTH_MODES, Mode

TaskModel = TypeVar("TaskModel", QuestionModel, PairModel, DialogueModel)
_COPY = re.compile(r"\.copies\.(both|bidirectional|causal)\.")
_SIDE = re.compile(r"\.(left|right)\.")


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
    return model, fill(model, med.state_dict())


def pair_config(med: ModelConfig, drop_path: float) -> ModelConfig:
    """The sizes of a model for pairs of images made of a MED's parts."""
    vision = replace(med.vision, drop_path=drop_path)
    return replace(med, vision=vision, architecture="nlvr", modes=("bidirectional",))


def start_pairs(med: Blip, drop_path: float = 0.0) -> tuple[PairModel, list[str]]:
    """A model for pairs with the weights of a MED, and the tensors that stay newly initialised.

    Both cross-attentions of a layer start from the MED's one, as in the original release; merge
    layers and head are new. Raises UsageError for a MED without encoder.
    """
    med.require("bidirectional")
    model = PairModel(pair_config(med.config, drop_path))
    return model, fill(model, med.state_dict())


def dialogue_config(
    before: ModelConfig, modes: tuple[Mode, ...], positions: int, drop_path: float
) -> ModelConfig:
    """The sizes of a model for dialogues made of another's parts, with `positions` at least."""
    return replace(
        before,
        vision=replace(before.vision, drop_path=drop_path),
        text=replace(before.text, positions=max(positions, before.text.positions)),
        architecture="visdial",
        sharing="nothing",
        modes=modes,
    )


def start_dialogues(
    before: Blip | DialogueModel,
    modes: tuple[Mode, ...],
    positions: int,
    drop_path: float = 0.0,
) -> tuple[DialogueModel, list[str]]:
    """A model for dialogues with the weights of a MED, or of another for dialogues.

    Its head for answers starts from that of ITM. Where there were fewer than `positions`, the
    further ones are newly initialised. Raises UsageError if one of the `modes` is lacking.
    """
    for mode in modes:
        before.require(mode)
    model = DialogueModel(dialogue_config(before.config, modes, positions, drop_path))
    given, own = before.state_dict(), model.state_dict()
    for name, tensor in own.items():
        known = _find(given, name)
        if known is not None and name.endswith(".positions.weight") and len(known) < len(tensor):
            given[name] = torch.cat([known, tensor[len(known) :]])
    return model, fill(model, given)


def with_drop_path(model: TaskModel, drop_path: float) -> TaskModel:
    """The same model with another stochastic depth of its image encoder."""
    vision = replace(model.config.vision, drop_path=drop_path)
    changed = type(model)(replace(model.config, vision=vision))
    changed.load_state_dict(model.state_dict())
    return changed


def fill(model: TaskModel, med: Mapping[str, Tensor]) -> list[str]:
    """Copy a MED's tensors, under our names, into a model made of its parts.

    Returns the names of those that stay as they are: they have none in the MED, or one of another
    shape.
    """
    own = model.state_dict()
    fresh: list[str] = []
    for name, tensor in own.items():
        source = _find(med, name)
        if source is None or source.shape != tensor.shape:
            fresh.append(name)
        else:
            own[name] = source.detach().clone()
    model.load_state_dict(own)
    return fresh


def _find(med: Mapping[str, Tensor], name: str) -> Tensor | None:
    """The MED's tensor of a name in another model: what that shares, the MED may not, or it may."""
    name = _SIDE.sub(".read.", name)
    kinds = ("both", "bidirectional")
    names = [name, *(_COPY.sub(f".copies.{kind}.", name) for kind in kinds)]
    return next((med[one] for one in names if one in med), None)
