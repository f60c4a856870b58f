"""Recipes of `blip pretrain`, with the paper's hyper-parameters."""

from dataclasses import replace

from blip.data.config import DataConfig, SourceConfig
from blip.model.config import ModelConfig, VisionConfig
from blip.tasks.config import PretrainConfig
from blip.train.config import OptimizerConfig, TrainConfig

_BERT = "hf:google-bert/bert-base-uncased"


def base() -> PretrainConfig:
    """ViT-B/16 at 224 pixels, BERT-base, as the paper trains on 14 M images (20 epochs).

    The image encoder starts from DeiT's weights, as in the original.
    """
    return PretrainConfig(
        model=ModelConfig(),
        tokenizer=_BERT,
        data=DataConfig(
            sources=(
                SourceConfig(name="human", shards=("shards/human",)),
                SourceConfig(name="web", shards=("shards/web",)),
            ),
            batch_size=2880,
            workers=8,
        ),
        train=_twenty_epochs(batch_size=2880, lr=3e-4),
        vision_weights="hf:timm/deit_base_patch16_224.fb_in1k",
        text_weights=_BERT,
    )


def large() -> PretrainConfig:
    """ViT-L/16 at 224 pixels, BERT-base, as the paper trains on 14 M images (20 epochs).

    The image encoder starts from weights of ImageNet-21k, as in the original.
    """
    small = base()
    return replace(
        small,
        model=ModelConfig(vision=VisionConfig(width=1024, depth=24, heads=16, drop_path=0.1)),
        data=replace(small.data, batch_size=2400),
        train=_twenty_epochs(batch_size=2400, lr=2e-4),
        vision_weights="hf:timm/vit_large_patch16_224.augreg_in21k",
    )


def _twenty_epochs(*, batch_size: int, lr: float) -> TrainConfig:
    return TrainConfig(
        steps=20 * 14_000_000 // batch_size,
        optimizer=OptimizerConfig(lr=lr, warmup_steps=3000, schedule="epoch_decay"),
        precision="bfloat16",
    )
