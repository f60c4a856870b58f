"""Recipes of `blip finetune nlvr`, with the paper's hyper-parameters (section 5.4)."""

from blip.data.config import DataConfig, ImageConfig, SourceConfig
from blip.evaluation.config import PairValidationConfig
from blip.recipes.sources import scenes_data, scenes_training
from blip.tasks.config import NlvrConfig
from blip.train.config import OptimizerConfig, TrainConfig

_STATEMENTS = 86_373
"""Of NLVR2's training set."""
_BATCH = 256


def nlvr2() -> NlvrConfig:
    """ViT-B/16 at 384 pixels on NLVR2, 15 epochs at 3e-5, measured on its dev set."""
    return NlvrConfig(
        init="runs/base_14m",
        data=DataConfig(
            sources=(SourceConfig(name="nlvr2", shards=("shards/nlvr2-train",)),),
            batch_size=_BATCH,
            image=ImageConfig(size=384, crop_scale=(0.5, 1.0)),
            # 40 words have fewer; the original cuts words alone.
            max_tokens=128,
            workers=8,
            stream="always",
        ),
        train=TrainConfig(
            steps=15 * _STATEMENTS // _BATCH,
            optimizer=OptimizerConfig(lr=3e-5, warmup_steps=0, schedule="cosine", final_lr=0.0),
            precision="bfloat16",
            evaluate_every=1000,
        ),
        validation=PairValidationConfig(shards=("shards/nlvr2-dev",)),
    )


def scenes() -> NlvrConfig:
    """A small model on statements about built-in scenes, five minutes on two cores.

    `blip data scenes scenes --like runs/demo/data --statements 6` draws them as the demo's.
    """
    return NlvrConfig(
        init="runs/demo/round-1/pretrain",
        data=scenes_data(max_tokens=40),
        # At the rate of the demo's pre-training, 2e-3, a run learnt nothing in 370 steps.
        train=scenes_training(steps=1200, lr=7e-4),
        # The image encoder has three layers: none can be spared.
        drop_path=0.0,
    )
