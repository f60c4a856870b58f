"""Recipes of `blip finetune caption`, with the paper's hyper-parameters (section 5.2)."""

from blip.recipes import sources
from blip.tasks.config import CaptionerConfig


def coco() -> CaptionerConfig:
    """ViT-B/16 at 384 pixels on COCO's captions, 5 epochs at 1e-5, prompt "a picture of "."""
    return _on(sources.COCO, "runs/base_14m", 1e-5)


def coco_large() -> CaptionerConfig:
    """ViT-L/16 at 384 pixels on COCO's captions, 5 epochs at 2e-6, prompt "a picture of "."""
    return _on(sources.COCO, "runs/large_129m", 2e-6)


def flickr30k() -> CaptionerConfig:
    """ViT-B/16 on Flickr30k's captions, as on COCO's; the paper has no such model."""
    return _on(sources.FLICKR30K, "runs/base_14m", 1e-5)


def flickr8k() -> CaptionerConfig:
    """ViT-B/16 on Flickr8k's captions, as on COCO's; the paper has no such model."""
    return _on(sources.FLICKR8K, "runs/base_14m", 1e-5)


def _on(data: sources.CaptionSet, init: str, lr: float) -> CaptionerConfig:
    return CaptionerConfig(
        init=init,
        data=sources.caption_data(data, max_tokens=40, prompt="a picture of "),
        train=sources.caption_training(data, epochs=5, lr=lr),
    )
