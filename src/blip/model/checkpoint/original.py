"""The names of tensors in the original release and here: one table for both directions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from blip.errors import UsageError
from blip.model.config import ModelConfig
from blip.model.pair import FIRST_MERGED_LAYER
from blip.nn.mode import Mode

Kind = Literal["pretrain", "retrieval", "itm", "caption", "vqa", "nlvr"]
"""Kinds of released checkpoints; `itm` is a retrieval checkpoint without its temperature."""

Layout = dict[str, tuple[str, ...]]
"""From our name to the original's; tensors of several names are concatenated (fused q, k, v)."""

_VISION_LAYER = {
    "attention_norm": "norm1",
    "query_key_value": "attn.qkv",
    "attention_output": "attn.proj",
    "mlp_norm": "norm2",
    "mlp_input": "mlp.fc1",
    "mlp_output": "mlp.fc2",
}
_SELF_ATTENTION = {
    "query_key_value": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "output": ("attention.output.dense",),
    "norm": ("attention.output.LayerNorm",),
}
_CROSS_ATTENTION = {
    "read.query": ("crossattention.self.query",),
    "read.key_value": ("crossattention.self.key", "crossattention.self.value"),
    "read.output": ("crossattention.output.dense",),
    "norm": ("crossattention.output.LayerNorm",),
}
_PAIR_CROSS_ATTENTION = {
    "left.query": ("crossattention.self0.query",),
    "left.key_value": ("crossattention.self0.key", "crossattention.self0.value"),
    "left.output": ("crossattention.output.dense0",),
    "right.query": ("crossattention.self1.query",),
    "right.key_value": ("crossattention.self1.key", "crossattention.self1.value"),
    "right.output": ("crossattention.output.dense1",),
    "norm": ("crossattention.output.LayerNorm",),
}
_MERGE = {"merge": ("crossattention.output.merge_layer",)}
_MLP = {
    "input": ("intermediate.dense",),
    "output": ("output.dense",),
    "norm": ("output.LayerNorm",),
}
_EMBEDDING = {
    "words.weight": "word_embeddings.weight",
    "positions.weight": "position_embeddings.weight",
    "norm.weight": "LayerNorm.weight",
    "norm.bias": "LayerNorm.bias",
}
ENCODER, DECODER = "text_encoder", "text_decoder.bert"
PREDICTIONS = "text_decoder.cls.predictions"

_MOMENTUM_PREFIXES = ("visual_encoder_m.", "text_encoder_m.", "vision_proj_m.", "text_proj_m.")
QUEUES = ("image_queue", "text_queue", "idx_queue", "queue_ptr", "ptr_queue")


@dataclass(frozen=True, slots=True)
class Names:
    """The names of all tensors of one kind of released checkpoint."""

    tensors: Layout
    repeats: Mapping[str, str] = field(default_factory=dict)
    """From further names of tied tensors to the names in `tensors`."""
    position_ids: tuple[str, ...] = ()
    """Names of buffers that hold 0, 1, 2 and so on."""


def names_of(kind: Kind, config: ModelConfig) -> Names:
    """The names in a released checkpoint of this kind and size, without momentum and queues."""
    depth = config.text.depth
    vision = vision_layout(config.vision.depth)
    ids = tuple(f"{stack}.embeddings.position_ids" for stack in (ENCODER, DECODER))
    match kind:
        case "caption":
            tensors = vision | _text(depth, DECODER, "causal", "both") | _language_head()
            return Names(tensors, _tied_head(DECODER), ids[1:])
        case "vqa":
            encoder = _text(depth, ENCODER, "bidirectional", "bidirectional")
            decoder = _text(depth, DECODER, "causal", "causal")
            tensors = vision | encoder | decoder | _language_head()
            return Names(tensors, _tied_head(DECODER), ids)
        case "nlvr":
            encoder = _text(depth, ENCODER, "bidirectional", "both", pairs=True)
            head = _both("head.0", ("cls_head.0",)) | _both("head.2", ("cls_head.2",))
            return Names(vision | encoder | head, position_ids=ids[:1])
        case "itm":
            tensors = vision | _text(depth, ENCODER, "bidirectional", "both") | _matching_heads()
            return Names(tensors, position_ids=ids[:1])
        case "retrieval":
            itm = names_of("itm", config)
            return Names(itm.tensors | _TEMPERATURE, position_ids=ids[:1])
        case "pretrain":
            decoder = _text(depth, DECODER, "causal", "both")
            own = {name: of for name, of in decoder.items() if ".self_attention." in name}
            shared = {
                original: original.replace(DECODER, ENCODER, 1)
                for name, originals in decoder.items()
                if name not in own
                for original in originals
            }
            retrieval = names_of("retrieval", config)
            tensors = retrieval.tensors | own | _language_head()
            return Names(tensors, shared | _tied_head(ENCODER), ids)


def vision_layout(depth: int, *, prefix: str = "visual_encoder.") -> Layout:
    """The image encoder; `prefix` starts its original names ("" in timm's files)."""
    layout: Layout = {
        "vision.class_token": (f"{prefix}cls_token",),
        "vision.positions": (f"{prefix}pos_embed",),
    }
    layout |= _both("vision.patches", (f"{prefix}patch_embed.proj",))
    layout |= _both("vision.norm", (f"{prefix}norm",))
    for layer in range(depth):
        for name, original in _VISION_LAYER.items():
            layout |= _both(
                f"vision.layers.{layer}.{name}", (f"{prefix}blocks.{layer}.{original}",)
            )
    return layout


def encoder_layout(depth: int, *, prefix: str = ENCODER) -> Layout:
    """A text encoder with cross-attention, as a MED has it."""
    return _text(depth, prefix, "bidirectional", "both")


def unimodal_layout(depth: int, mode: Mode, *, prefix: str = ENCODER) -> Layout:
    """A text encoder without cross-attention, as BERT is, whose self-attention serves `mode`."""
    layout = _text(depth, prefix, mode, "both")
    return {name: of for name, of in layout.items() if ".cross_attention." not in name}


def momentum_layout(config: ModelConfig) -> Layout:
    """The momentum encoders of a released pre-training or retrieval checkpoint."""
    layout = _both("image_projection", ("vision_proj_m",))
    layout |= _both("text_projection", ("text_proj_m",))
    layout |= vision_layout(config.vision.depth, prefix="visual_encoder_m.")
    return layout | unimodal_layout(config.text.depth, "bidirectional", prefix="text_encoder_m")


def is_momentum(name: str) -> bool:
    """Whether a tensor belongs to the momentum encoders or to the queues."""
    return name.startswith(_MOMENTUM_PREFIXES) or name in QUEUES


def from_original(layout: Layout, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the tensors of `layout`, which `state` must have, to our names."""
    tensors: dict[str, Tensor] = {}
    for name, originals in layout.items():
        parts = [_at_least_one_axis(state[original]) for original in originals]
        tensors[name] = torch.cat(parts) if len(parts) > 1 else parts[0]
    return tensors


def to_original(names: Names, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Undo `from_original`; adds tied tensors and position ids, which the release stores."""
    state: dict[str, Tensor] = {}
    for name, originals in names.tensors.items():
        if originals == ("temp",):
            state["temp"] = tensors[name].reshape(())
            continue
        parts = tensors[name].chunk(len(originals))
        state |= {of: part.contiguous() for of, part in zip(originals, parts, strict=True)}
    state |= {name: state[same] for name, same in names.repeats.items()}
    for name in names.position_ids:
        positions = name.replace("position_ids", "position_embeddings.weight")
        state[name] = torch.arange(len(state[positions]))[None]
    return state


def kind_of(found: Mapping[str, object]) -> Kind:
    """The kind of a checkpoint in the original layout, by its names; else raises UsageError."""
    stacks = {name.partition(".")[0] for name in found}
    if "visual_encoder" in stacks:
        if "cls_head" in stacks:
            return "nlvr"
        if {"text_decoder", "text_encoder"} <= stacks:
            return "pretrain" if "itm_head" in stacks else "vqa"
        if "text_decoder" in stacks:
            return "caption"
        if "itm_head" in stacks:
            return "retrieval" if "temp" in stacks else "itm"
    shown = ", ".join(sorted(stacks)[:6]) or "nothing"
    raise UsageError(f"unknown layout of weights, not one of BLIP's; found {shown}")


_TEMPERATURE: Layout = {"temperature": ("temp",)}


def _both(name: str, originals: tuple[str, ...]) -> Layout:
    return {
        f"{name}.{kind}": tuple(f"{original}.{kind}" for original in originals)
        for kind in ("weight", "bias")
    }


def _part(part: str, prefix: str, names: Mapping[str, tuple[str, ...]]) -> Layout:
    layout: Layout = {}
    for name, originals in names.items():
        layout |= _both(f"{part}.{name}", tuple(f"{prefix}.{original}" for original in originals))
    return layout


def _text(depth: int, prefix: str, mode: Mode, owner: str, *, pairs: bool = False) -> Layout:
    """A text stack: its self-attention serves `mode`, all else is our copy called `owner`."""
    layout: Layout = {
        f"text.embedding.copies.{owner}.{name}": (f"{prefix}.embeddings.{original}",)
        for name, original in _EMBEDDING.items()
    }
    for layer in range(depth):
        name, original = f"text.layers.{layer}", f"{prefix}.encoder.layer.{layer}"
        cross = _PAIR_CROSS_ATTENTION if pairs else _CROSS_ATTENTION
        if pairs and layer >= FIRST_MERGED_LAYER:
            cross = cross | _MERGE
        layout |= _part(f"{name}.self_attention.copies.{mode}", original, _SELF_ATTENTION)
        layout |= _part(f"{name}.cross_attention.copies.{owner}", original, cross)
        layout |= _part(f"{name}.mlp.copies.{owner}", original, _MLP)
    return layout


def _language_head() -> Layout:
    layout = _both("language_head.dense", (f"{PREDICTIONS}.transform.dense",))
    layout |= _both("language_head.norm", (f"{PREDICTIONS}.transform.LayerNorm",))
    return layout | {"language_head.bias": (f"{PREDICTIONS}.bias",)}


def _tied_head(words_of: str) -> dict[str, str]:
    """The output layer's own names of the tied word embedding and of the bias."""
    return {
        f"{PREDICTIONS}.decoder.weight": f"{words_of}.embeddings.word_embeddings.weight",
        f"{PREDICTIONS}.decoder.bias": f"{PREDICTIONS}.bias",
    }


def _matching_heads() -> Layout:
    layout = _both("image_projection", ("vision_proj",))
    layout |= _both("text_projection", ("text_proj",))
    return layout | _both("matching_head", ("itm_head",))


def _at_least_one_axis(tensor: Tensor) -> Tensor:
    return tensor.reshape(1) if tensor.dim() == 0 else tensor
