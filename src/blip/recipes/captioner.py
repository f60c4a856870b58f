"""Recipes of `blip finetune captioner`, with the paper's hyper-parameters (section 5.2)."""

from dataclasses import replace

from blip.data.config import DataConfig, ImageConfig, SourceConfig
from blip.recipes.sources import COCO, COCO_CAPTIONS, COCO_WEIGHT
from blip.tasks.config import CaptionerConfig
from blip.train.config import OptimizerConfig, TrainConfig


def coco() -> CaptionerConfig:
    """ViT-B/16 at 384 pixels on COCO's captions, 5 epochs at 1e-5, prompt "a picture of "."""
    return CaptionerConfig(
        init="runs/base_14m",
        data=DataConfig(
            sources=(SourceConfig(name="coco", shards=COCO, weight=COCO_WEIGHT),),
            batch_size=256,
            image=ImageConfig(size=384, crop_scale=(0.5, 1.0)),
            max_tokens=40,
            prompt="a picture of ",
            workers=8,
            stream="always",
        ),
        train=TrainConfig(
            steps=5 * COCO_CAPTIONS // 256,
            optimizer=OptimizerConfig(lr=1e-5, warmup_steps=0, schedule="cosine", final_lr=0.0),
            precision="bfloat16",
        ),
    )


def coco_large() -> CaptionerConfig:
    """ViT-L/16 at 384 pixels on COCO's captions, 5 epochs at 2e-6, prompt "a picture of "."""
    small = coco()
    optimizer = replace(small.train.optimizer, lr=2e-6)
    return replace(small, init="runs/large_129m", train=replace(small.train, optimizer=optimizer))
