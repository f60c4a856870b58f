"""The sizes of a released model, from the shapes of its tensors."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from blip.errors import UsageError
from blip.model.checkpoint.original import DECODER, ENCODER, Kind
from blip.model.config import Architecture, ModelConfig, TextConfig, VisionConfig
from blip.nn.mode import BOTH_MODES, Mode

HEAD_WIDTH = 64
"""Width of a head in every released model; no shape of a tensor shows the number of heads."""

Shapes = Mapping[str, tuple[int, ...]]


class Heads(NamedTuple):
    """Numbers of attention heads."""

    vision: int
    text: int


_MODES: dict[Kind, tuple[Mode, ...]] = {
    "pretrain": BOTH_MODES,
    "retrieval": ("bidirectional",),
    "itm": ("bidirectional",),
    "caption": ("causal",),
    "vqa": BOTH_MODES,
    "nlvr": ("bidirectional",),
}
_ARCHITECTURES: dict[Kind, Architecture] = {"vqa": "vqa", "nlvr": "nlvr"}


def config_from_shapes(kind: Kind, shapes: Shapes, heads: Heads | None = None) -> ModelConfig:
    """The sizes of a checkpoint in the original layout.

    `heads` are needed where they are not 64 wide. Raises UsageError if the tensors that show
    sizes are missing.
    """
    stack = DECODER if kind == "caption" else ENCODER
    try:
        width, _, patch, _ = shapes["visual_encoder.patch_embed.proj.weight"]
        side = round((shapes["visual_encoder.pos_embed"][1] - 1) ** 0.5)
        words, text_width = shapes[f"{stack}.embeddings.word_embeddings.weight"]
        vision = VisionConfig(
            image_size=side * patch,
            patch_size=patch,
            width=width,
            depth=_count(r"visual_encoder\.blocks\.(\d+)\.", shapes),
            heads=heads.vision if heads else _heads(width),
            mlp_ratio=shapes["visual_encoder.blocks.0.mlp.fc1.weight"][0] / width,
        )
        text = TextConfig(
            vocabulary_size=words,
            width=text_width,
            depth=_count(rf"{re.escape(stack)}\.encoder\.layer\.(\d+)\.", shapes),
            heads=heads.text if heads else _heads(text_width),
            mlp_width=shapes[f"{stack}.encoder.layer.0.intermediate.dense.weight"][0],
            positions=shapes[f"{stack}.embeddings.position_embeddings.weight"][0],
        )
        projection = shapes["vision_proj.weight"][0] if "vision_proj.weight" in shapes else 256
        return ModelConfig(
            vision=vision,
            text=text,
            projection=projection,
            architecture=_ARCHITECTURES.get(kind, "med"),
            modes=_MODES[kind],
        )
    except KeyError as error:
        raise UsageError(f"cannot determine the sizes: {error.args[0]} is missing") from error
    except (ValueError, IndexError, TypeError) as error:
        raise UsageError(f"cannot determine the sizes from the shapes: {error}") from error


def kind_of_config(config: ModelConfig, *, has_temperature: bool) -> Kind:
    """The kind of released checkpoint that a model is written as.

    Matchers were released with a temperature (retrieval) and without it (itm). Raises UsageError
    for what was never released: a model for dialogues, and other choices of shared parameters.
    """
    if config.architecture == "visdial":
        raise UsageError("a model for dialogues has no published layout; keep it in ours")
    if config.architecture != "med":
        return config.architecture
    if config.sharing != "all_but_self_attention":
        raise UsageError(
            f"sharing must be all_but_self_attention in the published layouts, got {config.sharing}"
        )
    if config.modes == BOTH_MODES:
        return "pretrain"
    if config.modes == ("causal",):
        return "caption"
    return "retrieval" if has_temperature else "itm"


def _count(pattern: str, names: Iterable[str]) -> int:
    return len({match[1] for name in names if (match := re.match(pattern, name))})


def _heads(width: int) -> int:
    if width % HEAD_WIDTH:
        raise ValueError(f"a width of {width} is not a multiple of {HEAD_WIDTH}; give the heads")
    return width // HEAD_WIDTH
