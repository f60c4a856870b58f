"""Recipes of `blip finetune vqa`, with the paper's hyper-parameters (section 5.3)."""

from dataclasses import replace

from blip.data.config import DataConfig, ImageConfig, SourceConfig
from blip.evaluation.config import QuestionValidationConfig
from blip.recipes.sources import scenes_data, scenes_training
from blip.tasks.config import VqaConfig
from blip.train.config import OptimizerConfig, TrainConfig

_QUESTIONS = {"vqa-train": 443_757, "vqa-val": 214_354, "vg": 726_932}
"""Of VQA v2's training and validation images, and of Visual Genome."""
_IMAGES = {"vqa-train": 82_783, "vqa-val": 40_504, "vg": 99_280}
_BATCH = 256


def vqa_v2() -> VqaConfig:
    """ViT-B/16 at 480 pixels on VQA v2 (train and val) and Visual Genome, 10 epochs at 2e-5."""
    return _on_vqa("runs/base_129m", ("vqa-train", "vqa-val", "vg"))


def vqa_v2_train() -> VqaConfig:
    """ViT-B/16 at 480 pixels on VQA v2's training images alone, to be measured on its val."""
    config = _on_vqa("runs/base_129m", ("vqa-train",))
    return replace(
        config,
        train=replace(config.train, evaluate_every=2000),
        validation=QuestionValidationConfig(shards=("shards/vqa-val",)),
    )


def scenes() -> VqaConfig:
    """A small model on questions about built-in scenes, five minutes on two cores.

    `blip data scenes scenes --like runs/demo/data --questions 6` draws them as the demo's: a model
    in minutes answers about what it has seen, and its vocabulary knows no other words.
    """
    return VqaConfig(
        init="runs/demo/round-1/pretrain",
        data=scenes_data(max_tokens=30),
        train=scenes_training(steps=1000, lr=1e-3),
        # The image encoder has three layers: none can be spared.
        drop_path=0.0,
    )


def _on_vqa(init: str, names: tuple[str, ...]) -> VqaConfig:
    questions = sum(_QUESTIONS[name] for name in names)
    return VqaConfig(
        init=init,
        data=DataConfig(
            sources=tuple(
                # A streamed image comes with one of its questions at a time.
                SourceConfig(
                    name=name,
                    shards=(f"shards/{name}",),
                    weight=round(_QUESTIONS[name] / _IMAGES[name], 2),
                )
                for name in names
            ),
            batch_size=_BATCH,
            image=ImageConfig(size=480, crop_scale=(0.5, 1.0)),
            max_tokens=35,
            workers=8,
            stream="always",
        ),
        train=TrainConfig(
            steps=10 * questions // _BATCH,
            optimizer=OptimizerConfig(lr=2e-5, warmup_steps=0, schedule="cosine", final_lr=0.0),
            precision="bfloat16",
        ),
    )
