"""Recipes of `blip bootstrap` for a model that starts from the weights of a ViT and a BERT."""

from collections.abc import Callable
from dataclasses import replace

from blip.model.config import ModelConfig, TextConfig, VisionConfig
from blip.objectives.config import ContrastiveConfig
from blip.recipes import bootstrap
from blip.recipes.config import BootstrapConfig
from blip.train.config import OptimizerConfig, TrainConfig


def flickr8k(vision_weights: str | None, text_weights: str | None) -> BootstrapConfig:
    """Flickr8k's photos at 84 pixels, from a small ViT and BERT; see experiments/photos.

    The sizes are those of a ViT-S/14 and a MiniLM; `blip bootstrap` puts in those of the files.
    """
    plain = bootstrap.flickr8k()
    return replace(
        plain,
        model=ModelConfig(
            # The last layers of a ViT serve what it was trained for, the middle ones see more.
            vision=VisionConfig(image_size=84, patch_size=14, width=384, depth=10, heads=6),
            text=TextConfig(width=384, depth=6, heads=12, mlp_width=1536, dropout=0.0),
        ),
        image=replace(plain.image, size=84, crop_scale=(0.6, 1.0)),
        pretrain=short_training(800, 4e-4),
        next_pretrain=short_training(400, 2e-4),
        captioner=short_training(100, 5e-5),
        filter=short_training(100, 5e-5),
        vision_weights=vision_weights,
        text_weights=text_weights,
        # What is fresh must learn faster than what comes from the files.
        weights_lr_scale=0.25,
        # Momentum encoders need thousands of steps to follow; so few steps want them quick.
        contrastive=ContrastiveConfig(momentum=0.5, queue_size=0, alpha=0.0, positives="image"),
        # On the web, noisy pairs outnumber clean ones.
        human_weight=0.3,
        batch_size=48,
    )


def short_training(steps: int, lr: float) -> TrainConfig:
    """A training of few steps: a warm-up of a tenth, a cosine, and gradients that are clipped."""
    return TrainConfig(
        steps=steps,
        optimizer=OptimizerConfig(
            lr=lr,
            warmup_steps=steps // 10,
            schedule="cosine",
            final_lr=lr / 100,
            betas=(0.9, 0.98),
            clip_norm=1.0,
        ),
        checkpoint_every=50,
        log_every=10,
    )


RECIPES: dict[str, Callable[[str | None, str | None], BootstrapConfig]] = {"flickr8k": flickr8k}
"""By the name of the recipe whose other form each is."""
