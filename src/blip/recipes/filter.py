"""Recipes of `blip finetune filter`, which is a retrieval model (paper, sections 3.3, 5.1)."""

from dataclasses import replace

from blip.data.config import DataConfig, ImageConfig, SourceConfig
from blip.recipes.sources import COCO, COCO_CAPTIONS, COCO_WEIGHT
from blip.tasks.config import FilterConfig
from blip.train.config import OptimizerConfig, TrainConfig


def coco() -> FilterConfig:
    """ViT-B/16 at 384 pixels on COCO's captions, ITC and ITM, 6 epochs at 1e-5."""
    return FilterConfig(
        init="runs/base_14m",
        data=DataConfig(
            sources=(SourceConfig(name="coco", shards=COCO, weight=COCO_WEIGHT),),
            batch_size=256,
            image=ImageConfig(size=384, crop_scale=(0.5, 1.0)),
            max_tokens=35,
            workers=8,
            stream="always",
        ),
        train=TrainConfig(
            steps=6 * COCO_CAPTIONS // 256,
            optimizer=OptimizerConfig(lr=1e-5, warmup_steps=0, schedule="cosine", final_lr=0.0),
            precision="bfloat16",
        ),
    )


def coco_large() -> FilterConfig:
    """ViT-L/16 at 384 pixels on COCO's captions, ITC and ITM, 6 epochs at 5e-6."""
    small = coco()
    optimizer = replace(small.train.optimizer, lr=5e-6)
    return replace(small, init="runs/large_129m", train=replace(small.train, optimizer=optimizer))
