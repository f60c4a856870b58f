"""Recipes of `blip pretrain`, with the paper's hyper-parameters."""

from dataclasses import replace

from blip.data.config import DataConfig, SourceConfig
from blip.evaluation.config import ValidationConfig
from blip.model.config import ModelConfig, VisionConfig
from blip.recipes.sources import COCO, COCO_VALIDATION, TEXTS_PER_IMAGE
from blip.tasks.config import PretrainConfig
from blip.train.config import OptimizerConfig, TrainConfig

_BERT = "hf:google-bert/bert-base-uncased"


_IMAGES = {
    "coco": 113_000,
    "vg": 100_000,
    "sbu": 860_000,
    "cc3m": 3_000_000,
    "cc12m": 10_000_000,
    "laion": 115_000_000,
}
"""Images of the paper's sources: 14 M, and 115 M more of LAION."""
_WEIGHTS = {"coco": TEXTS_PER_IMAGE, "vg": 7.7, "laion": 0.2}
"""How often an epoch shows each image. A streamed image comes with one of its texts at a time: COCO
has 567 K texts and VG 769 K. An epoch shows a fifth of LAION (BLIP, section 4.1)."""


def base() -> PretrainConfig:
    """ViT-B/16 at 224 pixels, BERT-base, for human and web shards of your own.

    Trains as long as the paper on 14 M images (20 epochs). The image encoder starts from DeiT's
    weights, as in the original.
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
    """ViT-L/16 at 224 pixels, BERT-base, for human and web shards of your own.

    Trains as long as the paper on 14 M images (20 epochs). The image encoder starts from weights
    trained on ImageNet-21k, as in the original.
    """
    small = base()
    return replace(
        small,
        model=ModelConfig(vision=VisionConfig(width=1024, depth=24, heads=16, drop_path=0.1)),
        data=replace(small.data, batch_size=2400),
        train=_twenty_epochs(batch_size=2400, lr=2e-4),
        vision_weights="hf:timm/vit_large_patch16_224.augreg_in21k",
    )


def base_14m() -> PretrainConfig:
    """ViT-B/16 on COCO, VG, SBU, CC3M and CC12M: the paper's 14 M images, 20 epochs."""
    return _on_paper_data(base(), laion=False)


def base_129m() -> PretrainConfig:
    """ViT-B/16 on the 14 M images and LAION's 115 M, a fifth of it per epoch, 20 epochs."""
    return _on_paper_data(base(), laion=True)


def large_129m() -> PretrainConfig:
    """ViT-L/16 on the 14 M images and LAION's 115 M, a fifth of it per epoch, 20 epochs."""
    return _on_paper_data(large(), laion=True)


def _on_paper_data(config: PretrainConfig, *, laion: bool) -> PretrainConfig:
    """The sources as docs/pretraining.md prepares them; validation on COCO's validation images."""
    names = [name for name in _IMAGES if laion or name != "laion"]
    sources = tuple(
        SourceConfig(
            name=name,
            shards=COCO.train if name == "coco" else (f"shards/{name}",),
            weight=_WEIGHTS.get(name, 1.0),
        )
        for name in names
    )
    pairs = sum(round(_IMAGES[source.name] * source.weight) for source in sources)
    size, lr = config.data.batch_size, config.train.optimizer.lr
    return replace(
        config,
        data=replace(config.data, sources=sources, stream="always"),
        train=replace(
            _twenty_epochs(batch_size=size, lr=lr, pairs=pairs),
            checkpoint_every=2000,
            evaluate_every=5000,
        ),
        validation=ValidationConfig(shards=COCO_VALIDATION),
    )


def _twenty_epochs(*, batch_size: int, lr: float, pairs: int = 14_000_000) -> TrainConfig:
    return TrainConfig(
        steps=20 * pairs // batch_size,
        optimizer=OptimizerConfig(lr=lr, warmup_steps=3000, schedule="epoch_decay"),
        precision="bfloat16",
    )
