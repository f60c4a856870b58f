"""The names of the original release's tensors, and of ours: one table, read both ways."""

from collections.abc import Mapping

import torch
from torch import Tensor

from blip.errors import BlipError
from blip.model.config import ModelConfig

Layout = dict[str, tuple[str, ...]]
"""Our name to the original's; several are laid one under the other (fused projections)."""

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
    "query": ("crossattention.self.query",),
    "key_value": ("crossattention.self.key", "crossattention.self.value"),
    "output": ("crossattention.output.dense",),
    "norm": ("crossattention.output.LayerNorm",),
}
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


def _both(ours: str, theirs: tuple[str, ...]) -> Layout:
    return {f"{ours}.{kind}": tuple(f"{t}.{kind}" for t in theirs) for kind in ("weight", "bias")}


def vision_layout(depth: int, *, theirs: str = "visual_encoder") -> Layout:
    """The image encoder; `theirs` is the original's prefix ("visual_encoder_m" for momentum)."""
    layout: Layout = {
        "vision.class_token": (f"{theirs}.cls_token",),
        "vision.positions": (f"{theirs}.pos_embed",),
    }
    layout |= _both("vision.patches", (f"{theirs}.patch_embed.proj",))
    layout |= _both("vision.norm", (f"{theirs}.norm",))
    for layer in range(depth):
        for ours, original in _VISION_LAYER.items():
            layout |= _both(
                f"vision.layers.{layer}.{ours}", (f"{theirs}.blocks.{layer}.{original}",)
            )
    return layout


def _text_part(ours: str, theirs: str, names: Mapping[str, tuple[str, ...]]) -> Layout:
    layout: Layout = {}
    for name, originals in names.items():
        layout |= _both(f"{ours}.{name}", tuple(f"{theirs}.{original}" for original in originals))
    return layout


def text_encoder_layout(depth: int, *, theirs: str = ENCODER, grounded: bool = True) -> Layout:
    """The text encoder with all that it shares with the decoder."""
    layout: Layout = {
        f"text.embedding.copies.both.{ours}": (f"{theirs}.embeddings.{original}",)
        for ours, original in _EMBEDDING.items()
    }
    for layer in range(depth):
        ours, original = f"text.layers.{layer}", f"{theirs}.encoder.layer.{layer}"
        layout |= _text_part(
            f"{ours}.self_attention.copies.bidirectional", original, _SELF_ATTENTION
        )
        layout |= _text_part(f"{ours}.mlp.copies.both", original, _MLP)
        if grounded:
            layout |= _text_part(f"{ours}.cross_attention.copies.both", original, _CROSS_ATTENTION)
    return layout


def decoder_layout(depth: int) -> Layout:
    """What the decoder has for itself: its self-attention and the language head."""
    head = "text_decoder.cls.predictions"
    layout = _both("language_head.dense", (f"{head}.transform.dense",))
    layout |= _both("language_head.norm", (f"{head}.transform.LayerNorm",))
    layout["language_head.bias"] = (f"{head}.bias",)
    for layer in range(depth):
        ours = f"text.layers.{layer}.self_attention.copies.causal"
        layout |= _text_part(ours, f"{DECODER}.encoder.layer.{layer}", _SELF_ATTENTION)
    return layout


def pretrain_layout(config: ModelConfig) -> Layout:
    """Every parameter of `Blip`, as a released pre-training checkpoint names it."""
    layout: Layout = {"temperature": ("temp",)}
    layout |= _both("image_projection", ("vision_proj",))
    layout |= _both("text_projection", ("text_proj",))
    layout |= _both("matching_head", ("itm_head",))
    layout |= vision_layout(config.vision.depth)
    layout |= text_encoder_layout(config.text.depth)
    return layout | decoder_layout(config.text.depth)


def momentum_layout(config: ModelConfig) -> Layout:
    """The momentum encoders of a released pre-training or retrieval checkpoint."""
    layout = _both("image_projection", ("vision_proj_m",))
    layout |= _both("text_projection", ("text_proj_m",))
    layout |= vision_layout(config.vision.depth, theirs="visual_encoder_m")
    return layout | text_encoder_layout(config.text.depth, theirs="text_encoder_m", grounded=False)


def from_original(layout: Layout, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of `layout` under our names; raises BlipError naming what `state` lacks."""
    missing = [name for names in layout.values() for name in names if name not in state]
    if missing:
        raise BlipError(
            f"the checkpoint lacks {len(missing)} tensors, among them {', '.join(missing[:5])}"
        )
    return {
        ours: torch.cat(
            [state[name].reshape(-1) if state[name].dim() == 0 else state[name] for name in theirs]
        )
        for ours, theirs in layout.items()
    }
