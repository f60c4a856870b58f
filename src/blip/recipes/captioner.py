"""Recipes of `blip finetune captioner`, with the paper's hyper-parameters (section 5.2)."""

from blip.recipes.sources import coco_data, coco_training
from blip.tasks.config import CaptionerConfig


def coco() -> CaptionerConfig:
    """ViT-B/16 at 384 pixels on COCO's captions, 5 epochs at 1e-5, prompt "a picture of "."""
    return _on_coco("runs/base_14m", 1e-5)


def coco_large() -> CaptionerConfig:
    """ViT-L/16 at 384 pixels on COCO's captions, 5 epochs at 2e-6, prompt "a picture of "."""
    return _on_coco("runs/large_129m", 2e-6)


def _on_coco(init: str, lr: float) -> CaptionerConfig:
    return CaptionerConfig(
        init=init,
        data=coco_data(max_tokens=40, prompt="a picture of "),
        train=coco_training(epochs=5, lr=lr),
    )
