"""The sizes of a model that starts from a ViT and a BERT, by what their files hold."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from blip.config.strict import load_json
from blip.errors import BlipError, UsageError
from blip.model.checkpoint.assemble import shapes_of
from blip.model.checkpoint.locate import find_weights
from blip.model.checkpoint.sizes import HEAD_WIDTH, Shapes
from blip.model.checkpoint.tensors import read_tensors
from blip.model.config import TextConfig, VisionConfig
from blip.outputs import SIZES

Sizes = TypeVar("Sizes", VisionConfig, TextConfig)

VISION_PLACES = {
    "width": ("cls_token", 2),
    "patch_size": ("patch_embed.proj.weight", 3),
    "mlp width": ("blocks.0.mlp.fc1.weight", 0),
}
TEXT_PLACES = {
    "width": ("bert.embeddings.word_embeddings.weight", 1),
    "positions": ("bert.embeddings.position_embeddings.weight", 0),
    "mlp_width": ("bert.encoder.layer.0.intermediate.dense.weight", 0),
}
"""The tensor and the axis that show each size."""
OTHER_HEADS = {1152: 16, 1280: 16, 1408: 16, 1664: 16}
"""Heads by the width of the ViTs of timm whose heads are not 64 wide: so400m, huge, giant and
gigantic."""
VISION_LAYERS = r"blocks\.(\d+)\."
TEXT_LAYERS = r"bert\.encoder\.layer\.(\d+)\."


def size_vision(config: VisionConfig, source: str, heads: int | None = None) -> VisionConfig:
    """The sizes of an image encoder that starts from the ViT `source`.

    It has no more layers than `config`, and its images are the next smaller multiple of the patch
    size, or one patch. Without `heads` it has as many as the ViT of that width in timm, or each is
    64 wide, as in all others and in DINOv2. Raises UsageError if the file is no ViT in timm's
    layout, or the width is not a multiple of 64.
    """
    path = find_start("vision_weights", source)
    where = f"vision_weights {path}"
    found = _all_sizes(_shapes(path), VISION_PLACES, VISION_LAYERS, where, "a ViT in timm's layout")
    width, patch = found["width"], found["patch_size"]
    heads = heads or OTHER_HEADS.get(width)
    if heads is None and width % HEAD_WIDTH:
        raise UsageError(
            f"{where}: its width {width} is not a multiple of {HEAD_WIDTH}, so that the number of "
            "heads is unknown; give --model.vision.heads"
        )
    return _within(
        where,
        config,
        image_size=max(config.image_size // patch, 1) * patch,
        patch_size=patch,
        width=width,
        depth=min(found["depth"], config.depth),
        heads=heads or width // HEAD_WIDTH,
        mlp_ratio=found["mlp width"] / width,
    )


def size_text(config: TextConfig, source: str, heads: int | None = None) -> TextConfig:
    """The sizes of a text transformer that starts from the BERT `source`.

    The number of heads, which no shape shows, is `heads` or that of the config.json beside the
    file. Raises UsageError if neither is there, or the file is no BERT.
    """
    path = find_start("text_weights", source)
    where = f"text_weights {path}"
    found = _all_sizes(
        {bert_name(name): shape for name, shape in _shapes(path).items()},
        TEXT_PLACES,
        TEXT_LAYERS,
        where,
        "a BERT in Hugging Face's layout",
    )
    heads = heads or heads_beside(path).get("heads")
    if heads is None:
        raise UsageError(
            f"{where}: no shape shows the number of heads; put its {SIZES} beside it, or give "
            "--model.text.heads"
        )
    return _within(
        where,
        config,
        width=found["width"],
        depth=found["depth"],
        heads=heads,
        mlp_width=found["mlp_width"],
        positions=found["positions"],
    )


def find_start(key: str, source: str | Path) -> Path:
    """The file of the weights that a key of a configuration names.

    Raises what `find_weights` raises, with the key before it.
    """
    try:
        return find_weights(source)
    except BlipError as error:
        raise type(error)(f"{key}: {error}") from error


def sizes_shown(
    shapes: Shapes, places: Mapping[str, tuple[str, int]], layers: str
) -> dict[str, int]:
    """The sizes that the tensors show, `depth` among them; those of absent tensors are absent."""
    found = {
        size: shapes[name][axis]
        for size, (name, axis) in places.items()
        if name in shapes and len(shapes[name]) > axis
    }
    depth = len({match[1] for name in shapes if (match := re.match(layers, name))})
    return found | ({"depth": depth} if depth else {})


def heads_beside(weights: Path) -> dict[str, int]:
    """The number of attention heads, which no shape shows, from config.json where there is one."""
    path = weights.with_name(SIZES)
    sizes = load_json(path) if path.is_file() else None
    heads = sizes.get("num_attention_heads") if isinstance(sizes, dict) else None
    return {"heads": heads} if isinstance(heads, int) else {}


def bert_name(name: str) -> str:
    """The name of a tensor in today's files of a BERT with its heads."""
    if name.startswith(("embeddings.", "encoder.", "pooler.")):
        name = f"bert.{name}"
    name = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", name)
    return re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", name)


def _shapes(path: Path) -> Shapes:
    return shapes_of(read_tensors(path, checked=False).tensors)


def _all_sizes(
    shapes: Shapes, places: Mapping[str, tuple[str, int]], layers: str, where: str, kind: str
) -> dict[str, int]:
    found = sizes_shown(shapes, places, layers)
    missing = [name for size, (name, _) in places.items() if size not in found]
    if missing or "depth" not in found:
        raise UsageError(f"{where} is not {kind}: it has no {(missing or ['layers'])[0]}")
    return found


def _within(where: str, config: Sizes, **sizes: Any) -> Sizes:
    try:
        return replace(config, **sizes)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from error
