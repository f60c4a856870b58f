"""Where the recipes expect the paper's data; docs/pretraining.md says how to prepare it."""

from blip.data.config import DataConfig, ImageConfig, SourceConfig
from blip.train.config import OptimizerConfig, TrainConfig

COCO = ("shards/coco-train", "shards/coco-restval")
"""COCO's training images in Karpathy's split, of which restval is a part."""
COCO_CAPTIONS = 566_747
"""Number of texts in COCO's training images."""
COCO_WEIGHT = 5.0
"""COCO has five texts per image, and a streamed image comes with one of them at a time."""
COCO_VALIDATION = ("shards/coco-val",)

_BATCH = 256


def coco_data(*, max_tokens: int, prompt: str = "") -> DataConfig:
    """COCO's captions for fine-tuning at 384 pixels."""
    return DataConfig(
        sources=(SourceConfig(name="coco", shards=COCO, weight=COCO_WEIGHT),),
        batch_size=_BATCH,
        image=ImageConfig(size=384, crop_scale=(0.5, 1.0)),
        max_tokens=max_tokens,
        prompt=prompt,
        workers=8,
        stream="always",
    )


def coco_training(*, epochs: int, lr: float) -> TrainConfig:
    """A training of `epochs` passes over all of COCO's captions."""
    return TrainConfig(
        steps=epochs * COCO_CAPTIONS // _BATCH,
        optimizer=OptimizerConfig(lr=lr, warmup_steps=0, schedule="cosine", final_lr=0.0),
        precision="bfloat16",
    )
