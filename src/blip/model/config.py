"""The sizes of a model: what is needed to build one, and nothing about training it."""

from dataclasses import dataclass
from typing import Literal

from blip.nn.mode import BOTH_MODES, Mode

Architecture = Literal["med", "vqa", "nlvr"]
"""The MED, or one of the two models made of its parts: for questions, for pairs of images."""

Sharing = Literal["all", "all_but_cross_attention", "all_but_self_attention", "nothing"]
"""Which parameters the text encoder and the text decoder share (BLIP, table 3)."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


@dataclass(frozen=True, kw_only=True, slots=True)
class VisionConfig:
    """A vision transformer (ViT); the defaults are ViT-B/16."""

    image_size: int = 224
    """Side of the square input, in pixels; a multiple of the patch size."""
    patch_size: int = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_ratio: float = 4.0
    drop_path: float = 0.0
    """Stochastic depth of the last layer; earlier layers have proportionally less."""
    norm_eps: float = 1e-6
    """Of the layer norms; Hugging Face's checkpoints run with 1e-5."""

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit together."""
        for name in ("image_size", "patch_size", "width", "depth", "heads"):
            _require(getattr(self, name) > 0, f"{name} must be positive, got {getattr(self, name)}")
        _require(
            self.image_size % self.patch_size == 0,
            f"image_size must be a multiple of patch_size {self.patch_size}, got {self.image_size}",
        )
        _require(
            self.width % self.heads == 0,
            f"width must be a multiple of heads {self.heads}, got {self.width}",
        )
        _require(self.mlp_ratio > 0, f"mlp_ratio must be positive, got {self.mlp_ratio}")
        _require(0.0 <= self.drop_path < 1.0, f"drop_path must lie in [0, 1), got {self.drop_path}")
        _require(self.norm_eps > 0, f"norm_eps must be positive, got {self.norm_eps}")

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

    vocabulary_size: int = 30524
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_width: int = 3072
    positions: int = 512
    """Longest text in tokens."""
    dropout: float = 0.1

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit together."""
        for name in ("vocabulary_size", "width", "depth", "heads", "mlp_width", "positions"):
            _require(getattr(self, name) > 0, f"{name} must be positive, got {getattr(self, name)}")
        _require(
            self.width % self.heads == 0,
            f"width must be a multiple of heads {self.heads}, got {self.width}",
        )
        _require(0.0 <= self.dropout < 1.0, f"dropout must lie in [0, 1), got {self.dropout}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """A vision transformer, a text transformer and what they share (BLIP, section 3.1)."""

    vision: VisionConfig = VisionConfig()
    text: TextConfig = TextConfig()
    projection: int = 256
    """Width of the space in which images and texts are compared."""
    sharing: Sharing = "all_but_self_attention"
    architecture: Architecture = "med"
    modes: tuple[Mode, ...] = BOTH_MODES
    """How a MED's text transformer can read; released captioners and matchers have one mode."""

    def __post_init__(self) -> None:
        """Refuse a projection that is no width, and modes that no model has."""
        _require(self.projection > 0, f"projection must be positive, got {self.projection}")
        encoder, decoder = BOTH_MODES
        choices: tuple[tuple[Mode, ...], ...] = {
            "med": (BOTH_MODES, (encoder,), (decoder,)),
            "vqa": (BOTH_MODES,),
            "nlvr": ((encoder,),),
        }[self.architecture]
        _require(
            self.modes in choices,
            f"modes of {self.architecture} must be "
            f"{' or '.join('+'.join(choice) for choice in choices)}, got {'+'.join(self.modes)}",
        )
