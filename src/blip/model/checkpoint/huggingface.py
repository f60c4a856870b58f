"""Hugging Face's layout of BLIP: its names of tensors and its config.json."""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from torch import Tensor

from blip.errors import UsageError
from blip.model.checkpoint.original import Kind, Names, kind_of, to_original
from blip.model.checkpoint.sizes import Heads, Shapes, config_from_shapes
from blip.model.config import ModelConfig
from blip.nn.bert import NORM_EPS

ARCHITECTURES: dict[Kind, str] = {
    "caption": "BlipForConditionalGeneration",
    "itm": "BlipForImageTextRetrieval",
    "vqa": "BlipForQuestionAnswering",
}
"""The class of transformers that reads each kind; it has none for the other kinds."""

_THEIRS, _ORIGINAL = "vision_model.", "visual_encoder."
_VISION = (
    ("visual_encoder.cls_token", "vision_model.embeddings.class_embedding"),
    ("visual_encoder.pos_embed", "vision_model.embeddings.position_embedding"),
    ("visual_encoder.patch_embed.proj.", "vision_model.embeddings.patch_embedding."),
    ("visual_encoder.norm.", "vision_model.post_layernorm."),
    ("visual_encoder.blocks.", "vision_model.encoder.layers."),
    (".attn.qkv.", ".self_attn.qkv."),
    (".attn.proj.", ".self_attn.projection."),
    (".norm1.", ".layer_norm1."),
    (".norm2.", ".layer_norm2."),
)
"""Parts of names in the original release and here; tensors of the text have the same names."""

# The defaults of transformers for keys that config.json lacks.
_DEFAULT_HEADS = Heads(vision=12, text=8)
_DEFAULT_VISION_EPS = 1e-5


class SpecialIds(NamedTuple):
    """Token ids that config.json names."""

    dec: int
    sep: int
    pad: int


def is_huggingface(names: Mapping[str, object]) -> bool:
    """Whether these are names of this layout."""
    return any(name.startswith(_THEIRS) for name in names)


def original_name(name: str) -> str:
    """The original release's name of a tensor of this layout."""
    if name.startswith(_THEIRS):
        for original, of_library in _VISION:
            name = name.replace(of_library, original)
    return name


def huggingface_name(name: str) -> str:
    """Undo `original_name`."""
    if name.startswith(_ORIGINAL):
        for original, of_library in _VISION:
            name = name.replace(original, of_library)
    return name


def to_huggingface(names: Names, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert tensors from our names; tied tensors and position ids are left out as usual there."""
    state = to_original(Names(names.tensors), tensors)
    return {huggingface_name(name): tensor for name, tensor in state.items()}


def read_sizes(
    config: Mapping[str, object] | None, shapes: Shapes, heads: Heads | None
) -> ModelConfig:
    """Sizes for tensors under the original's names, from config.json where there is one.

    Raises UsageError for a config.json that describes what this model cannot do.
    """
    if config is None:
        sizes = config_from_shapes(kind_of(shapes), shapes, heads)
        return replace(sizes, vision=replace(sizes.vision, norm_eps=_DEFAULT_VISION_EPS))
    text, vision = (_section(config, name) for name in ("text_config", "vision_config"))
    _require(text, "hidden_act", "gelu")
    _require(vision, "hidden_act", "gelu")
    _require(text, "layer_norm_eps", NORM_EPS)
    heads = Heads(
        vision=int(_number(vision, "num_attention_heads", _DEFAULT_HEADS.vision)),
        text=int(_number(text, "num_attention_heads", _DEFAULT_HEADS.text)),
    )
    norm_eps = _number(vision, "layer_norm_eps", _DEFAULT_VISION_EPS)
    sizes = config_from_shapes(kind_of(shapes), shapes, heads)
    return replace(
        sizes,
        # A captioner has no projection whose shape would show this.
        projection=int(_number(config, "image_text_hidden_size", sizes.projection)),
        vision=replace(sizes.vision, norm_eps=norm_eps),
        text=replace(sizes.text, dropout=_number(text, "hidden_dropout_prob", 0.0)),
    )


def write_sizes(kind: Kind, config: ModelConfig, ids: SpecialIds) -> dict[str, object]:
    """The content of config.json; raises UsageError for kinds that transformers cannot read."""
    if kind not in ARCHITECTURES:
        hint = "; `task` takes the half that captions or that matches" if kind == "pretrain" else ""
        raise UsageError(
            f"transformers has no class for {kind}, only for {', '.join(ARCHITECTURES)}{hint}"
        )
    if kind == "vqa" and config.vision.width != config.text.width:
        raise UsageError(
            "transformers reads a VQA model only where images and texts are equally wide, "
            f"got {config.vision.width} and {config.text.width}"
        )
    vision, text = config.vision, config.text
    return {
        "architectures": [ARCHITECTURES[kind]],
        "model_type": "blip",
        "dtype": "float32",
        "image_text_hidden_size": config.projection,
        "tie_word_embeddings": True,
        "text_config": {
            "model_type": "blip_text_model",
            "vocab_size": text.vocabulary_size,
            "hidden_size": text.width,
            "encoder_hidden_size": vision.width,
            "intermediate_size": text.mlp_width,
            "num_hidden_layers": text.depth,
            "num_attention_heads": text.heads,
            "max_position_embeddings": text.positions,
            "hidden_act": "gelu",
            "layer_norm_eps": NORM_EPS,
            "hidden_dropout_prob": text.dropout,
            "attention_probs_dropout_prob": text.dropout,
            "bos_token_id": ids.dec,
            "eos_token_id": ids.sep,
            "sep_token_id": ids.sep,
            "pad_token_id": ids.pad,
        },
        "vision_config": {
            "model_type": "blip_vision_model",
            "hidden_size": vision.width,
            "intermediate_size": vision.mlp_width,
            "num_hidden_layers": vision.depth,
            "num_attention_heads": vision.heads,
            "image_size": vision.image_size,
            "patch_size": vision.patch_size,
            "hidden_act": "gelu",
            "layer_norm_eps": vision.norm_eps,
            "attention_dropout": 0.0,
        },
    }


def _section(config: Mapping[str, object], name: str) -> Mapping[str, object]:
    section = config.get(name)
    if not isinstance(section, Mapping):
        raise UsageError(f"config.json must have an object {name}, got {section!r}")
    return section


def _number(section: Mapping[str, object], key: str, default: int | float) -> float:
    value = section.get(key, default)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise UsageError(f"config.json: {key} must be a number, got {value!r}")
    return float(value)


def _require(section: Mapping[str, object], key: str, required: object) -> None:
    """Raise UsageError where a key, whose default is the required value, has another one."""
    if section.get(key, required) != required:
        raise UsageError(f"config.json: {key} must be {required}, got {section[key]!r}")
