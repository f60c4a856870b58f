"""BLIP: one vision-language model that understands, generates and cleans its own data."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blip.data.dialogues import Turn
    from blip.data.image_sources import read_image
    from blip.data.images import BadImageError
    from blip.data.tokenizer import Tokenizer
    from blip.data.videos.read import VideoFrames, read_video
    from blip.data.videos.stream import BadVideoError
    from blip.export.captioner import OnnxCaptioner
    from blip.export.matcher import OnnxMatcher
    from blip.export.write import export_onnx
    from blip.generation.config import DecodingConfig
    from blip.index.search import Index
    from blip.inference.answerer import Answerer
    from blip.inference.captioner import Captioner
    from blip.inference.checkpoint import load_model, save_model
    from blip.inference.comparer import Comparer
    from blip.inference.dialogue_answerer import DialogueAnswerer
    from blip.inference.embedder import Embedder
    from blip.inference.load import load
    from blip.inference.loaded_model import LoadedModel
    from blip.inference.matcher import Matcher
    from blip.model.blip import Blip
    from blip.model.config import ModelConfig

__all__ = [
    "Answerer",
    "BadImageError",
    "BadVideoError",
    "Blip",
    "Captioner",
    "Comparer",
    "DecodingConfig",
    "DialogueAnswerer",
    "Embedder",
    "Index",
    "LoadedModel",
    "Matcher",
    "ModelConfig",
    "OnnxCaptioner",
    "OnnxMatcher",
    "Tokenizer",
    "Turn",
    "VideoFrames",
    "export_onnx",
    "load",
    "load_model",
    "read_image",
    "read_video",
    "save_model",
]

_HOMES = {
    "Answerer": "blip.inference.answerer",
    "BadImageError": "blip.data.images",
    "BadVideoError": "blip.data.videos.stream",
    "Blip": "blip.model.blip",
    "Captioner": "blip.inference.captioner",
    "Comparer": "blip.inference.comparer",
    "DialogueAnswerer": "blip.inference.dialogue_answerer",
    "Embedder": "blip.inference.embedder",
    "Index": "blip.index.search",
    "LoadedModel": "blip.inference.loaded_model",
    "Matcher": "blip.inference.matcher",
    "ModelConfig": "blip.model.config",
    "DecodingConfig": "blip.generation.config",
    "OnnxCaptioner": "blip.export.captioner",
    "OnnxMatcher": "blip.export.matcher",
    "export_onnx": "blip.export.write",
    "Tokenizer": "blip.data.tokenizer",
    "Turn": "blip.data.dialogues",
    "VideoFrames": "blip.data.videos.read",
    "load": "blip.inference.load",
    "load_model": "blip.inference.checkpoint",
    "read_image": "blip.data.image_sources",
    "read_video": "blip.data.videos.read",
    "save_model": "blip.inference.checkpoint",
}
"""Where a public name is defined."""
_RENAMED = {"SearchConfig": "DecodingConfig"}
"""Public names of earlier releases, which work for one more."""


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import blip` loads no torch."""
    if name == "__version__":
        from blip.installed import version

        return version()
    if name in _RENAMED:
        import warnings

        now = _RENAMED[name]
        warnings.warn(f"blip.{name} is now blip.{now}", DeprecationWarning, stacklevel=2)
        return __getattr__(now)
    if name not in _HOMES:
        raise AttributeError(f"module 'blip' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
