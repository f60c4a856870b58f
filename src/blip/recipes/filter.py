"""Recipes of `blip finetune filter`, which is a retrieval model (paper, sections 3.3, 5.1)."""

from blip.recipes.sources import coco_data, coco_training
from blip.tasks.config import FilterConfig


def coco() -> FilterConfig:
    """ViT-B/16 at 384 pixels on COCO's captions, ITC and ITM, 6 epochs at 1e-5."""
    return _on_coco("runs/base_14m", 1e-5)


def coco_large() -> FilterConfig:
    """ViT-L/16 at 384 pixels on COCO's captions, ITC and ITM, 6 epochs at 5e-6."""
    return _on_coco("runs/large_129m", 5e-6)


def _on_coco(init: str, lr: float) -> FilterConfig:
    return FilterConfig(
        init=init, data=coco_data(max_tokens=35), train=coco_training(epochs=6, lr=lr)
    )
