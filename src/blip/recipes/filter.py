"""Recipes of `blip finetune retrieval`, which makes filters, too (paper, sections 3.3, 5.1)."""

from blip.recipes import sources
from blip.tasks.config import FilterConfig


def coco() -> FilterConfig:
    """ViT-B/16 at 384 pixels on COCO's captions, ITC and ITM, 6 epochs at 1e-5."""
    return _on(sources.COCO, "runs/base_14m", 1e-5)


def coco_large() -> FilterConfig:
    """ViT-L/16 at 384 pixels on COCO's captions, ITC and ITM, 6 epochs at 5e-6."""
    return _on(sources.COCO, "runs/large_129m", 5e-6)


def flickr30k() -> FilterConfig:
    """ViT-B/16 at 384 pixels on Flickr30k's captions, ITC and ITM, 6 epochs at 1e-5."""
    return _on(sources.FLICKR30K, "runs/base_14m", 1e-5)


def flickr30k_large() -> FilterConfig:
    """ViT-L/16 at 384 pixels on Flickr30k's captions, ITC and ITM, 6 epochs at 5e-6."""
    return _on(sources.FLICKR30K, "runs/large_129m", 5e-6)


def flickr8k() -> FilterConfig:
    """ViT-B/16 on Flickr8k's captions, as on Flickr30k's; the paper has no such model."""
    return _on(sources.FLICKR8K, "runs/base_14m", 1e-5)


def _on(data: sources.CaptionSet, init: str, lr: float) -> FilterConfig:
    return FilterConfig(
        init=init,
        data=sources.caption_data(data, max_tokens=35),
        train=sources.caption_training(data, epochs=6, lr=lr),
    )
