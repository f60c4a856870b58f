"""Where the recipes expect the paper's data; docs/pretraining.md says how to prepare it."""

from dataclasses import dataclass

from blip.data.config import DataConfig, ImageConfig, SourceConfig
from blip.train.config import OptimizerConfig, TrainConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionSet:
    """A data set of captions, by Karpathy's split."""

    name: str
    train: tuple[str, ...]
    """Where the shards of its training images are."""
    captions: int
    """Number of texts of its training images."""


COCO = CaptionSet(name="coco", train=("shards/coco-train", "shards/coco-restval"), captions=566_747)
"""COCO's training images in Karpathy's split, of which restval is a part."""
FLICKR30K = CaptionSet(name="flickr30k", train=("shards/flickr30k-train",), captions=145_000)
FLICKR8K = CaptionSet(name="flickr8k", train=("shards/flickr8k-train",), captions=30_000)
TEXTS_PER_IMAGE = 5.0
"""Of all three; the weight of their images, as a streamed one comes with one text at a time."""
COCO_VALIDATION = ("shards/coco-val",)

_BATCH = 256


def scenes_data(max_tokens: int) -> DataConfig:
    """What `blip data scenes scenes --like runs/demo/data` drew, for a model such as the demo's."""
    return DataConfig(
        sources=(SourceConfig(name="scenes", shards=("scenes/human",)),),
        batch_size=64,
        # Where things are must stay true, and what colour they have.
        image=ImageConfig(size=48, crop_scale=(1.0, 1.0), flip=False, augment_ops=0),
        max_tokens=max_tokens,
    )


def scenes_training(steps: int, lr: float) -> TrainConfig:
    """As the demo trains its captioner: a cosine schedule, and a smaller second beta of AdamW."""
    return TrainConfig(
        steps=steps,
        optimizer=OptimizerConfig(
            lr=lr, warmup_steps=50, schedule="cosine", final_lr=lr / 100, betas=(0.9, 0.98)
        ),
        log_every=25,
    )


def caption_data(of: CaptionSet, *, max_tokens: int, prompt: str = "") -> DataConfig:
    """The captions of a data set for fine-tuning at 384 pixels."""
    return DataConfig(
        sources=(SourceConfig(name=of.name, shards=of.train, weight=TEXTS_PER_IMAGE),),
        batch_size=_BATCH,
        image=ImageConfig(size=384, crop_scale=(0.5, 1.0)),
        max_tokens=max_tokens,
        prompt=prompt,
        workers=8,
        stream="always",
    )


def caption_training(of: CaptionSet, *, epochs: int, lr: float) -> TrainConfig:
    """A training of `epochs` passes over all captions of a data set."""
    return TrainConfig(
        steps=epochs * of.captions // _BATCH,
        optimizer=OptimizerConfig(lr=lr, warmup_steps=0, schedule="cosine", final_lr=0.0),
        precision="bfloat16",
    )
