"""Recipes of `blip pretrain`, with the paper's hyper-parameters."""

from blip.data.config import DataConfig, SourceConfig
from blip.model.config import ModelConfig
from blip.tasks.config import PretrainConfig
from blip.train.config import OptimizerConfig, TrainConfig


def base() -> PretrainConfig:
    """ViT-B/16 at 224 pixels, BERT-base, as the paper trains on 14 M images (20 epochs)."""
    batch = 2880
    return PretrainConfig(
        model=ModelConfig(),
        tokenizer="bert-base-uncased/vocab.txt",
        data=DataConfig(
            sources=(
                SourceConfig(name="human", shards=("shards/human",)),
                SourceConfig(name="web", shards=("shards/web",)),
            ),
            batch_size=batch,
            workers=8,
        ),
        train=TrainConfig(
            steps=20 * 14_000_000 // batch,
            optimizer=OptimizerConfig(lr=3e-4, warmup_steps=3000, schedule="epoch_decay"),
            precision="bfloat16",
        ),
    )
