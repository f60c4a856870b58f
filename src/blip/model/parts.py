"""Image encoder and text transformer of the sizes in a configuration, and what modes share."""

from blip.model.config import ModelConfig, Sharing
from blip.nn.attention import AttentionSizes, CrossAttention
from blip.nn.bert import NORM_EPS, MakeCross, TextTransformer
from blip.nn.mode import Mode
from blip.nn.per_mode import Shared
from blip.nn.vit import VisionTransformer

SHARED_PARTS: dict[Sharing, Shared] = {
    "all": Shared(embedding=True, self_attention=True, cross_attention=True, mlp=True),
    "all_but_cross_attention": Shared(
        embedding=True, self_attention=True, cross_attention=False, mlp=True
    ),
    "all_but_self_attention": Shared(
        embedding=True, self_attention=False, cross_attention=True, mlp=True
    ),
    "nothing": Shared(embedding=False, self_attention=False, cross_attention=False, mlp=False),
}
"""What encoder and decoder share, for each choice of the paper's table 3."""


def make_vision(config: ModelConfig) -> VisionTransformer:
    """The image encoder that `config` describes."""
    vision = config.vision
    return VisionTransformer(
        image_size=vision.image_size,
        patch_size=vision.patch_size,
        width=vision.width,
        depth=vision.depth,
        heads=vision.heads,
        mlp_width=vision.mlp_width,
        drop_path=vision.drop_path,
        norm_eps=vision.norm_eps,
    )


def make_text(
    config: ModelConfig,
    make_cross: MakeCross | None,
    *,
    shared: Shared,
    modes: tuple[Mode, ...],
) -> TextTransformer:
    """The text transformer that `config` describes; without `make_cross` a unimodal encoder."""
    text = config.text
    return TextTransformer(
        vocabulary_size=text.vocabulary_size,
        positions=text.positions,
        depth=text.depth,
        sizes=text_sizes(config),
        mlp_width=text.mlp_width,
        make_cross=make_cross,
        shared=shared,
        modes=modes,
    )


def cross_to(config: ModelConfig, widths: dict[Mode, int]) -> MakeCross:
    """Cross-attention to states whose width depends on the mode."""
    sizes = text_sizes(config)
    return lambda layer, mode: CrossAttention(sizes, kv_width=widths[mode])


def text_sizes(config: ModelConfig) -> AttentionSizes:
    """Sizes of the attention blocks of a model's text transformer."""
    text = config.text
    return AttentionSizes(width=text.width, heads=text.heads, dropout=text.dropout, eps=NORM_EPS)
