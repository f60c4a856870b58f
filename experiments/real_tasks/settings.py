"""Sizes and budgets of the trainings on real data: a small ViT and BERT, forty minutes each."""

from dataclasses import replace

from blip.data.config import DataConfig, ImageConfig, SourceConfig
from blip.model.config import ModelConfig, TextConfig, VisionConfig
from blip.tasks.config import NlvrConfig, VqaConfig
from blip.train.config import OptimizerConfig, TrainConfig

SIZE = 98
MODEL = ModelConfig(
    vision=VisionConfig(image_size=SIZE, patch_size=14, width=384, depth=8, heads=6),
    text=TextConfig(width=384, depth=6, heads=12, mlp_width=1536, dropout=0.0),
)
"""The first 8 of the ViT's 12 layers: the last ones cost most for what so few steps can use."""
TO_REPLACE = "start"
"""Stands where the experiment puts the model to start from, and the data."""


def daquar() -> VqaConfig:
    """Questions about indoor photos: about five times through the training set."""
    return VqaConfig(
        init=TO_REPLACE,
        # Questions ask what is on the left: no flips.
        data=_data(ImageConfig(size=SIZE, crop_scale=(0.8, 1.0), flip=False, augment_ops=0)),
        train=_training(steps=950, lr=2e-4),
        drop_path=0.0,
    )


def nlvr1() -> NlvrConfig:
    """Statements about boxes: about one and a half times through the training set."""
    image = ImageConfig(size=SIZE, crop_scale=(1.0, 1.0), flip=False, augment_ops=0)
    return NlvrConfig(
        init=TO_REPLACE,
        data=replace(_data(image), max_tokens=40),
        train=_training(steps=500, lr=2e-4),
        # One picture holds one box, the other two.
        swap=False,
        drop_path=0.0,
    )


def _data(image: ImageConfig) -> DataConfig:
    source = SourceConfig(name=TO_REPLACE, shards=(TO_REPLACE,))
    return DataConfig(sources=(source,), batch_size=32, image=image, max_tokens=35)


def _training(steps: int, lr: float) -> TrainConfig:
    """A short training: warm-up of fifty steps, then a cosine."""
    optimizer = OptimizerConfig(
        lr=lr,
        warmup_steps=50,
        schedule="cosine",
        final_lr=lr / 100,
        betas=(0.9, 0.98),
        clip_norm=1.0,
    )
    return TrainConfig(steps=steps, optimizer=optimizer, checkpoint_every=100, log_every=10)
