"""Recipes of `blip bootstrap`: each function returns a complete configuration."""

from dataclasses import replace

from blip.data.config import ImageConfig
from blip.data.scenes.config import ScenesConfig
from blip.evaluation.config import RetrievalEvaluationConfig
from blip.generation.config import DecodingConfig
from blip.model.config import ModelConfig, TextConfig, VisionConfig
from blip.objectives.config import ContrastiveConfig, LanguageConfig
from blip.recipes.config import BootstrapConfig, ShardsConfig
from blip.train.config import OptimizerConfig, TrainConfig


def _training(
    steps: int, lr: float, warmup: int, *, evaluate_every: int | None = None
) -> TrainConfig:
    """For small models: cosine schedule, short warm-up, and a smaller second beta of AdamW."""
    return TrainConfig(
        steps=steps,
        optimizer=OptimizerConfig(
            lr=lr,
            warmup_steps=warmup,
            schedule="cosine",
            final_lr=lr / 100,
            betas=(0.9, 0.98),
        ),
        checkpoint_every=200,
        log_every=20,
        evaluate_every=evaluate_every,
    )


def scenes_demo() -> BootstrapConfig:
    """The built-in scenes, with a model of under a million parameters: ten minutes on two cores."""
    return BootstrapConfig(
        data=ScenesConfig(
            image_size=48,
            max_objects=2,
            max_count=3,
            object_scale=1.3,
            shapes=("square", "triangle", "cross", "ring"),
            colours=("red", "green", "blue", "yellow", "white"),
            patterns=("solid",),
            backgrounds=("grey", "pink"),
            human=2000,
            web=8000,
            noise=0.5,
            val=100,
            test=300,
        ),
        model=ModelConfig(
            vision=VisionConfig(image_size=48, patch_size=12, width=96, depth=3, heads=4),
            text=TextConfig(width=96, depth=2, heads=4, mlp_width=384, positions=40, dropout=0.0),
            projection=64,
        ),
        # Captions say what is left and right: no flips; colours and places matter: no RandAugment.
        image=ImageConfig(size=48, crop_scale=(1.0, 1.0), flip=False, augment_ops=0),
        # A validation takes 1.5 s, a hundredth of the demo's time.
        pretrain=_training(2300, 2e-3, 100, evaluate_every=500),
        next_pretrain=_training(1000, 1e-3, 20, evaluate_every=500),
        captioner=_training(600, 1e-3, 20),
        filter=_training(400, 1e-3, 20),
        # On the web, noisy pairs outnumber clean ones.
        human_weight=0.5,
        # ITM trains on two negatives for every match, so that its probabilities are low.
        threshold=0.25,
        # A text is true of one scene in seventy: in a queue, most that is like it is no negative
        # (experiments/scenes_demo).
        contrastive=ContrastiveConfig(queue_size=0, positives="image"),
        language=LanguageConfig(label_smoothing=0.0),
        synthesis=DecodingConfig(kind="nucleus", top_p=0.9, min_length=3, max_length=30),
        captioning=DecodingConfig(kind="beam", beams=3, min_length=3, max_length=30),
        retrieval=RetrievalEvaluationConfig(candidates=32),
        parallel=2,
    )


def scenes_test() -> BootstrapConfig:
    """The demo in seconds, for tests: every stage, but too few steps to learn anything."""
    demo = scenes_demo()
    assert isinstance(demo.data, ScenesConfig)
    return replace(
        demo,
        data=replace(demo.data, human=24, web=40, val=8, test=12),
        model=replace(
            demo.model,
            vision=VisionConfig(image_size=48, patch_size=24, width=16, depth=1, heads=2),
            text=replace(demo.model.text, width=16, depth=1, heads=2, mlp_width=32),
            projection=8,
        ),
        pretrain=_training(6, 1e-3, 2, evaluate_every=3),
        next_pretrain=_training(4, 1e-3, 2, evaluate_every=2),
        captioner=_training(3, 1e-3, 2),
        filter=_training(3, 1e-3, 2),
        contrastive=ContrastiveConfig(queue_size=32, positives="image"),
        vocabulary_size=120,
        batch_size=8,
        retrieval=RetrievalEvaluationConfig(candidates=4),
        threshold=0.2,
        parallel=1,
    )


def flickr8k() -> BootstrapConfig:
    """Flickr8k's photos at 96 pixels: one hour on two cores; see experiments/flickr8k."""
    folder = "experiments/flickr8k/data"
    demo = scenes_demo()
    return replace(
        demo,
        data=ShardsConfig(
            human=(f"{folder}/human",),
            web=(f"{folder}/web",),
            val=(f"{folder}/val",),
            test=(f"{folder}/test",),
        ),
        vocabulary_size=2500,
        model=ModelConfig(
            vision=VisionConfig(image_size=96, patch_size=16, width=128, depth=4, heads=4),
            text=TextConfig(width=128, depth=2, heads=4, mlp_width=512, positions=64, dropout=0.1),
            projection=128,
        ),
        # In one hour a wider model sees too few photos to learn more than grammar.
        image=ImageConfig(size=96, crop_scale=(0.5, 1.0), flip=True, augment_ops=0),
        pretrain=_training(4000, 1e-3, 200),
        next_pretrain=_training(1500, 5e-4, 50),
        captioner=_training(600, 3e-4, 50),
        filter=_training(600, 3e-4, 50),
        human_weight=1.0,
        contrastive=ContrastiveConfig(queue_size=2048, positives="image"),
        language=LanguageConfig(label_smoothing=0.1),
        synthesis=DecodingConfig(kind="nucleus", top_p=0.9, min_length=5, max_length=25),
        captioning=DecodingConfig(kind="beam", beams=3, min_length=5, max_length=25),
        retrieval=RetrievalEvaluationConfig(candidates=32),
        batch_size=64,
    )
