"""What is trained in the experiment on real photos: data, sizes, steps, rates."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from blip.data.config import DataConfig, SourceConfig
from blip.nn.kernels.onednn import bfloat16_multiplies
from blip.recipes import from_weights
from blip.recipes.config import BootstrapConfig
from blip.tasks.config import CaptionerConfig, FilterConfig, PretrainConfig
from blip.train.config import TrainConfig

STEPS = {"pretrain": 600, "captioner": 100, "filter": 200}
"""Fewer pre-training steps than the recipe has."""


class Places(NamedTuple):
    """Where files are read and written."""

    vision_weights: Path
    text_weights: Path
    data: Path
    """What prepare.py wrote."""
    out: Path
    shared: Path
    """The folder that BLIP_SHARED names."""

    @property
    def human(self) -> tuple[str, ...]:
        """Photos with captions that people wrote for them."""
        return (str(self.data / "human"), str(self.shared / "coco/images.parquet"))

    @property
    def recipe(self) -> BootstrapConfig:
        """That of `blip bootstrap flickr8k` with these weights."""
        return from_weights.flickr8k(str(self.vision_weights), str(self.text_weights))


def pretraining(places: Places, web: Path, seed: int, scale: float = 1.0) -> PretrainConfig:
    """ITC, ITM and LM on human and web pairs, from a ViT and a BERT."""
    recipe = places.recipe
    sources = (
        SourceConfig(name="human", shards=places.human, weight=recipe.human_weight),
        SourceConfig(name="web", shards=(str(web),)),
    )
    return PretrainConfig(
        model=recipe.model,
        tokenizer=str(places.text_weights.with_name("vocab.txt")),
        data=data(recipe, sources, seed),
        train=training(recipe.pretrain, "pretrain", seed, scale),
        contrastive=recipe.contrastive,
        language=recipe.language,
        vision_weights=recipe.vision_weights,
        text_weights=recipe.text_weights,
        weights_lr_scale=recipe.weights_lr_scale,
    )


def captioning(places: Places, init: Path, seed: int, scale: float = 1.0) -> CaptionerConfig:
    """LM on the human pairs."""
    return CaptionerConfig(
        init=str(init),
        data=human_data(places, seed),
        train=training(places.recipe.captioner, "captioner", seed, scale),
        language=places.recipe.language,
    )


def filtering(places: Places, init: Path, seed: int, scale: float = 1.0) -> FilterConfig:
    """ITC and ITM on the human pairs."""
    return FilterConfig(
        init=str(init),
        data=human_data(places, seed),
        train=training(places.recipe.filter, "filter", seed, scale),
        contrastive=places.recipe.contrastive,
    )


def human_data(places: Places, seed: int) -> DataConfig:
    """The human pairs alone."""
    return data(places.recipe, (SourceConfig(name="human", shards=places.human),), seed)


def data(recipe: BootstrapConfig, sources: tuple[SourceConfig, ...], seed: int) -> DataConfig:
    """Batches of these pairs."""
    return DataConfig(
        sources=sources,
        batch_size=recipe.batch_size,
        image=recipe.image,
        max_tokens=recipe.max_tokens,
        seed=seed,
    )


def training(recipe: TrainConfig, name: str, seed: int, scale: float) -> TrainConfig:
    """The recipe's training, of another length."""
    steps = max(2, round(scale * STEPS[name]))
    return replace(
        recipe,
        steps=steps,
        optimizer=replace(recipe.optimizer, warmup_steps=steps // 10),
        precision="bfloat16" if bfloat16_multiplies() else "float32",
        checkpoint_every=40,
        seed=seed,
    )
