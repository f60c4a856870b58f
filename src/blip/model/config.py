"""The sizes of a model: all that is needed to build it, nothing about its training."""

from dataclasses import dataclass
from typing import Annotated, Literal

from blip.config.ranges import SHARE_BELOW_ONE, SIDE, TOKENS, Range, RangeError, check_fields
from blip.nn.mode import BOTH_MODES, Mode

Architecture = Literal["med", "vqa", "nlvr", "visdial"]
"""The MED, or a model made of its parts: for questions, pairs of images, or dialogues."""

Sharing = Literal["all", "all_but_cross_attention", "all_but_self_attention", "nothing"]
"""Which parameters the text encoder and the text decoder share (BLIP, table 3)."""


WIDTH = Range(whole=True, least=1, most=2**16)
DEPTH = Range(whole=True, least=1, most=1000)


def check_length(text: "TextConfig", name: str, length: int) -> None:
    """Raise RangeError where the texts of the field `name` are longer than the model's positions.

    Call it before any work begins, as soon as the model and the longest text are known.
    """
    if length > text.positions:
        allowed = f"at most {text.positions}, as this model has no more positions"
        raise RangeError(name, length, allowed)


def _check_heads(config: "VisionConfig | TextConfig") -> None:
    if config.width % config.heads:
        raise RangeError("width", config.width, f"a multiple of heads {config.heads}")


@dataclass(frozen=True, kw_only=True, slots=True)
class VisionConfig:
    """A vision transformer (ViT); the defaults are ViT-B/16."""

    image_size: Annotated[int, SIDE] = 224
    """Side of the square input, in pixels; a multiple of the patch size."""
    patch_size: Annotated[int, SIDE] = 16
    width: Annotated[int, WIDTH] = 768
    depth: Annotated[int, DEPTH] = 12
    heads: Annotated[int, WIDTH] = 12
    mlp_ratio: Annotated[float, Range(above=0, most=100)] = 4.0
    drop_path: Annotated[float, SHARE_BELOW_ONE] = 0.0
    """Stochastic depth of the last layer; earlier layers have proportionally less."""
    norm_eps: Annotated[float, Range(above=0, most=1)] = 1e-6
    """Of the layer norms; Hugging Face's checkpoints run with 1e-5."""

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit together."""
        check_fields(self)
        _check_heads(self)
        if self.image_size % self.patch_size:
            raise RangeError(
                "image_size", self.image_size, f"a multiple of patch_size {self.patch_size}"
            )

    @property
    def mlp_width(self) -> int:
        """Width between the two layers of the feed-forward network."""
        return round(self.width * self.mlp_ratio)

    @property
    def tokens(self) -> int:
        """Patches plus the class token."""
        return (self.image_size // self.patch_size) ** 2 + 1


@dataclass(frozen=True, kw_only=True, slots=True)
class TextConfig:
    """A text transformer; the defaults are BERT-base with [DEC] and [ENC] added."""

    vocabulary_size: Annotated[int, Range(whole=True, least=1, most=2**24)] = 30524
    width: Annotated[int, WIDTH] = 768
    depth: Annotated[int, DEPTH] = 12
    heads: Annotated[int, WIDTH] = 12
    mlp_width: Annotated[int, Range(whole=True, least=1, most=2**20)] = 3072
    positions: Annotated[int, TOKENS] = 512
    """Longest text in tokens."""
    dropout: Annotated[float, SHARE_BELOW_ONE] = 0.1

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit together."""
        check_fields(self)
        _check_heads(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """A vision transformer, a text transformer and what they share (BLIP, section 3.1)."""

    vision: VisionConfig = VisionConfig()
    text: TextConfig = TextConfig()
    projection: Annotated[int, WIDTH] = 256
    """Width of the space in which images and texts are compared."""
    sharing: Sharing = "all_but_self_attention"
    architecture: Architecture = "med"
    modes: tuple[Mode, ...] = BOTH_MODES
    """How a MED's text transformer can read; released captioners and matchers have one mode."""

    def __post_init__(self) -> None:
        """Refuse values out of range, and modes that no model has."""
        check_fields(self)
        encoder, decoder = BOTH_MODES
        choices: tuple[tuple[Mode, ...], ...] = {
            "med": (BOTH_MODES, (encoder,), (decoder,)),
            "vqa": (BOTH_MODES,),
            "nlvr": ((encoder,),),
            "visdial": (BOTH_MODES, (encoder,)),
        }[self.architecture]
        if self.modes not in choices:
            allowed = " or ".join("+".join(choice) for choice in choices)
            raise RangeError("modes", "+".join(self.modes), f"{allowed}, for {self.architecture}")
