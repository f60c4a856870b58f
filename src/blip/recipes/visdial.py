"""Recipes of `blip finetune visdial`; the paper (section 5.5) gives no hyper-parameters."""

from dataclasses import replace

from blip.data.config import DataConfig, ImageConfig, SourceConfig
from blip.evaluation.config import DialogueValidationConfig
from blip.objectives.config import LanguageConfig
from blip.tasks.config import VisdialConfig
from blip.train.config import OptimizerConfig, TrainConfig

_IMAGES, _ROUNDS = 123_287, 10
"""Of VisDial v1.0's training split, and of each dialogue."""
_BATCH = 256
_TOKENS = 256
"""Of the longest dialogue; the longest of VisDial's val has 230."""


def visdial() -> VisdialConfig:
    """ViT-B/16 at 384 pixels on VisDial v1.0, 5 epochs at 2e-5; ranks answers."""
    return VisdialConfig(
        init="runs/base_129m",
        data=DataConfig(
            # A streamed image comes with one of its rounds at a time.
            sources=(
                SourceConfig(name="visdial", shards=("shards/visdial-train",), weight=_ROUNDS),
            ),
            batch_size=_BATCH,
            # Answers tell left from right, and name colours.
            image=ImageConfig(size=384, crop_scale=(0.5, 1.0), flip=False, augment_ops=0),
            max_tokens=_TOKENS,
            workers=8,
            stream="always",
        ),
        train=TrainConfig(
            steps=5 * _ROUNDS * _IMAGES // _BATCH,
            optimizer=OptimizerConfig(lr=2e-5, warmup_steps=1000, schedule="cosine", final_lr=0.0),
            precision="bfloat16",
            evaluate_every=2000,
        ),
        validation=DialogueValidationConfig(shards=("shards/visdial-val",)),
    )


def visdial_written() -> VisdialConfig:
    """The same, with a decoder that learns to write answers as well."""
    return replace(visdial(), language=LanguageConfig())


def scenes() -> VisdialConfig:
    """A small model on dialogues about built-in scenes, five minutes on two cores.

    `blip data scenes scenes --like runs/demo/data --dialogues 4` draws them as the demo's, whose
    words the model knows.
    """
    return VisdialConfig(
        init="runs/demo/round-1/pretrain",
        data=DataConfig(
            sources=(SourceConfig(name="scenes", shards=("scenes/human",)),),
            batch_size=32,
            # Where things are must stay true, and what colour they have.
            image=ImageConfig(size=48, crop_scale=(1.0, 1.0), flip=False, augment_ops=0),
            max_tokens=64,
        ),
        train=TrainConfig(
            steps=1500,
            # As the demo trains its captioner.
            optimizer=OptimizerConfig(
                lr=1e-3, warmup_steps=50, schedule="cosine", final_lr=1e-5, betas=(0.9, 0.98)
            ),
            log_every=25,
        ),
        negatives=15,
    )
