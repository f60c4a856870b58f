"""Initial weights of a new MED, from a ViT in timm's layout and a BERT (BLIP, section 4.1)."""

import re
from collections.abc import Mapping
from math import isqrt
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from blip.errors import UsageError
from blip.model.blip import Blip
from blip.model.checkpoint.assemble import Faults, not_real, shapes_of
from blip.model.checkpoint.original import (
    Layout,
    Names,
    from_original,
    names_of,
    to_original,
    unimodal_layout,
    vision_layout,
)
from blip.model.checkpoint.start_sizes import (
    TEXT_LAYERS,
    TEXT_PLACES,
    VISION_LAYERS,
    VISION_PLACES,
    bert_name,
    find_start,
    heads_beside,
    sizes_shown,
)
from blip.model.checkpoint.tensors import read_tensors
from blip.nn.vit import resize_positions

VISION_LEFT_OUT = ("head.", "pre_logits.")
"""Prefixes of tensors that are not used: ImageNet's classifier, which follows our last states."""

TEXT_LEFT_OUT = (
    "bert.embeddings.token_type_embeddings.",
    "bert.embeddings.position_ids",
    "bert.pooler.",
    "cls.seq_relationship.",
    "cls.predictions.decoder.",
)
"""Prefixes of tensors that are not used: token types, as in the original, which has none and does
not compensate for the first one, so that states differ from BERT's until it is trained; position
ids; the head for pairs of sentences; the output layer, which is tied."""

MAX_FRESH_ROWS = 2
"""Rows of the vocabulary that BERT lacks: `[DEC]` and `[ENC]`."""

_TIES = {
    "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}
_HEAD = "language_head."
_SCALED = {"1.gamma": "attn.proj", "2.gamma": "mlp.fc2"}
"""What each scale of a layer (LayerScale, Touvron 2021) multiplies."""


class Started(NamedTuple):
    """What a file of weights has become of a model."""

    line: str
    """Describes it."""
    weights: frozenset[str]
    """Names of the model's weights that start from the file, or for the most part do."""


def start_vision(model: Blip, source: str | Path) -> Started:
    """Load the weights of a ViT into the image encoder.

    `source` is a `.safetensors`, `.pth` or `.bin` file in timm's key layout, alone or under "model"
    as DeiT's are, a folder that holds one beside its config.json, or `hf:ORG/NAME`. The position
    embedding is resized bicubically where the image size differs. A model with fewer layers starts
    from the first ones. LayerScale, where the file has it, becomes part of the projections before
    it, which then compute the same. `VISION_LEFT_OUT` is not used.

    Raises UsageError if a size differs from the model's, and BlipError with the list of all
    tensors that are missing, unknown or of another shape; the model is then unchanged.
    """
    path = find_start("vision_weights", source)
    state = {
        name: tensor
        for name, tensor in read_tensors(path).tensors.items()
        if not name.startswith(VISION_LEFT_OUT)
    }
    vision = model.config.vision
    sizes = sizes_shown(shapes_of(state), VISION_PLACES, VISION_LAYERS)
    deeper = ""
    if sizes.get("depth", 0) > vision.depth:
        deeper = f", the first {vision.depth} of its {sizes['depth']} layers"
        sizes["depth"] = vision.depth
        state = {name: state[name] for name in state if _layer_of(name) < vision.depth}
    state = _fold_layer_scale(state)
    expected = {
        "width": vision.width,
        "patch_size": vision.patch_size,
        "mlp width": vision.mlp_width,
        "depth": vision.depth,
    }
    _compare_sizes(sizes, expected, f"vision_weights {path}", "model.vision")
    resized = ""
    positions = state.get("pos_embed")
    if positions is not None and positions.dim() == 3 and positions.shape[1] != vision.tokens:
        old, new = isqrt(max(positions.shape[1] - 1, 0)), isqrt(vision.tokens - 1)
        # Another number is a fault that the list will show: DeiT's distilled models have two tokens
        # more than patches.
        if old > 0 and old**2 + 1 == positions.shape[1]:
            state["pos_embed"] = resize_positions(positions.float(), vision.tokens)
            resized = f", positions resized from {old} x {old} to {new} x {new} patches"
    layout = vision_layout(vision.depth, prefix="")
    _put(model, layout, state, Faults(), str(path))
    return Started(f"image encoder from {path}{deeper}{resized}", frozenset(layout))


def _layer_of(name: str) -> int:
    """The layer of a tensor in timm's layout; -1 where it is in none."""
    found = re.match(r"blocks\.(\d+)\.", name)
    return int(found[1]) if found else -1


def _fold_layer_scale(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state without the scales of its layers' updates, which scale weights and biases instead.

    A scale without both, or of another shape, stays: it will be in the list of what does not fit.
    """
    folded = dict(state)
    for name, scale in state.items():
        layer, _, part = name.rpartition(".ls")
        if (scaled := _SCALED.get(part)) is None or scale.dim() != 1:
            continue
        weight, bias = (state.get(f"{layer}.{scaled}.{kind}") for kind in ("weight", "bias"))
        if weight is None or bias is None or not scale.shape == bias.shape == weight.shape[:1]:
            continue
        folded[f"{layer}.{scaled}.weight"] = weight.float() * scale.float()[:, None]
        folded[f"{layer}.{scaled}.bias"] = bias.float() * scale.float()
        del folded[name]
    return folded


def start_text(model: Blip, source: str | Path) -> Started:
    """Load the weights of a BERT into the text transformer.

    Embedding, self-attention and feed-forward are loaded into encoder and decoder, shared or not.
    `[DEC]`, `[ENC]` and cross-attention, which BERT lacks, keep their random weights. BERT's head
    for masked words, where the file has it, becomes the language head: the original builds its
    decoder with that head under BERT's own names, so that loading fills it. `TEXT_LEFT_OUT` is not
    used.

    `source` is as for `start_vision`, in Hugging Face's key layout, with or without the prefix
    `bert.`, with `LayerNorm.weight` and `.bias` or the older `.gamma` and `.beta`.

    Raises UsageError if a size differs from the model's, and BlipError with the list of all
    tensors that are missing, unknown, of another shape or wrongly tied; the model is then
    unchanged.
    """
    path = find_start("text_weights", source)
    state = {bert_name(name): tensor for name, tensor in read_tensors(path).tensors.items()}
    text = model.config.text
    sizes = sizes_shown(shapes_of(state), TEXT_PLACES, TEXT_LAYERS) | heads_beside(path)
    expected = {
        "width": text.width,
        "positions": text.positions,
        "mlp_width": text.mlp_width,
        "depth": text.depth,
        "heads": text.heads,
    }
    _compare_sizes(sizes, expected, f"text_weights {path}", "model.text")
    faults = Faults()
    faults.untied += [
        name
        for name, same in _TIES.items()
        if name in state and same in state and not torch.equal(state[name], state[same])
    ]
    writes = "causal" in model.config.modes
    left_out = TEXT_LEFT_OUT if writes else (*TEXT_LEFT_OUT, "cls.")
    state = {name: tensor for name, tensor in state.items() if not name.startswith(left_out)}
    head = any(name.startswith("cls.") for name in state)
    layout = _text_layout(model, head=head)
    new_rows = _add_rows(model, layout, state, f"text_weights {path}")
    _put(model, layout, state, faults, str(path))
    stays = ["cross-attention", f"{new_rows} rows of the vocabulary"]
    if writes and not head:
        stays.append("language head")
    line = f"text transformer from {path}; newly initialised: {', '.join(stays)}"
    return Started(line, frozenset(layout))


def _text_layout(model: Blip, *, head: bool) -> Layout:
    """From our name to BERT's, for every copy of a part in the model."""
    config, names = model.config, model.state_dict().keys()
    layout: Layout = {}
    for mode in config.modes:
        for name, originals in unimodal_layout(config.text.depth, mode, prefix="bert").items():
            copies = (re.sub(r"\.copies\.\w+\.", f".copies.{c}.", name) for c in ("both", mode))
            layout |= {copy: originals for copy in copies if copy in names}
    if head:
        layout |= {
            name: tuple(original.removeprefix("text_decoder.") for original in originals)
            for name, originals in names_of("caption", config).tensors.items()
            if name.startswith(_HEAD)
        }
    return layout


def _add_rows(model: Blip, layout: Layout, state: dict[str, Tensor], where: str) -> int:
    """Append newly initialised rows to BERT's vocabulary; returns their number.

    Their biases in the language head are zeros, as in the original.
    """
    words, bias = _TIES.values()
    size = model.config.text.vocabulary_size
    if words not in state:
        return 0
    rows = state[words].shape[0]
    if not 0 <= size - rows <= MAX_FRESH_ROWS:
        raise UsageError(
            f"{where}: the vocabulary has {rows} tokens, but model.text.vocabulary_size is {size}; "
            f"allowed: as many, and up to {MAX_FRESH_ROWS} more for [DEC] and [ENC]"
        )
    weights = model.state_dict()
    initial = {of[0]: weights[name][rows:] for name, of in layout.items() if len(of) == 1}
    for name in (words, bias):
        if name in state and state[name].shape[0] == rows:
            state[name] = torch.cat([state[name].float(), initial[name]])
    return size - rows


def _compare_sizes(
    found: Mapping[str, int], expected: Mapping[str, int], where: str, part: str
) -> None:
    differing = [
        f"{name} is {found[name]}, but that of {part} is {size}"
        for name, size in expected.items()
        if name in found and found[name] != size
    ]
    if differing:
        raise UsageError(f"{where}: {'; '.join(differing)}")


def _put(
    model: Blip, layout: Layout, state: Mapping[str, Tensor], faults: Faults, where: str
) -> None:
    """Load the tensors of `layout`; raises BlipError unless `state` has exactly these."""
    expected = to_original(Names(layout), model.state_dict())
    faults.compare(shapes_of(expected), shapes_of(state))
    faults.unreal += not_real(state.items())
    faults.raise_any(where)
    model.load_state_dict(from_original(layout, state), strict=False)
