"""How weights are updated, for how long, and what is kept on the way; loads no torch."""

from dataclasses import dataclass
from typing import Literal

from blip.config.ranges import (
    COUNT,
    POSITIVE,
    SEED,
    SHARE_BELOW_ONE,
    Precision,
    Range,
    check_device,
    check_text,
)

STEPS = Range(whole=True, least=1, most=10**12)


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerConfig:
    """AdamW and the course of its learning rate; the defaults are the paper's for ViT-B."""

    lr: float = 3e-4
    weight_decay: float = 0.05
    """On matrices alone: biases and norms do not decay."""
    betas: tuple[float, float] = (0.9, 0.999)
    warmup_steps: int = 3000
    warmup_lr: float = 1e-6
    """Where the linear warm-up starts."""
    schedule: Literal["epoch_decay", "cosine", "constant"] = "epoch_decay"
    epoch_decay: float = 0.9
    """Factor an epoch, for the schedule of that name."""
    final_lr: float = 1e-6
    """Where the cosine ends, and what the decay by epochs does not go below."""
    clip_norm: float | None = None
    """Max gradient norm; larger gradients are scaled down to it."""

    def __post_init__(self) -> None:
        """Refuse numbers that cannot work."""
        Range(above=0, most=1000).check(self, "lr", "epoch_decay")
        Range(least=0, most=1000).check(self, "weight_decay", "warmup_lr", "final_lr")
        POSITIVE.check(self, "clip_norm")
        Range(whole=True, least=0, most=STEPS.most).check(self, "warmup_steps")
        SHARE_BELOW_ONE.check(self, "betas")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """A training run around its task."""

    steps: int
    """Updates of the weights."""
    optimizer: OptimizerConfig = OptimizerConfig()
    accumulation: int = 1
    """Batches whose gradients are averaged for one update."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """Under torchrun: a replica of model and optimiser in each process, or a shard."""
    precision: Precision = "float32"
    recompute: bool = False
    """Keep what goes into each layer alone, and compute the inside again in the backward pass: a
    fraction of the memory for a third more work."""
    compile: bool = False
    """Let torch.compile fuse what it can; the first step takes minutes."""
    checkpoint_every: int = 1000
    """Steps between checkpoints."""
    keep_checkpoints: int = 2
    log_every: int = 50
    evaluate_every: int | None = None
    """Steps between evaluations on held-out data; none makes no evaluation."""
    seed: int = 0
    tensorboard: bool = False
    """Show what is logged on TensorBoard, too: in the folder `tensorboard` of the run."""
    wandb: str | None = None
    """A project of Weights & Biases to show it in, too."""
    max_nonfinite: int = 20
    """Updates in a row that may fail for a loss or gradient that is not finite."""
    device: str = "auto"
    """`auto` takes a GPU where there is one."""

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        STEPS.check(self, "steps", "checkpoint_every", "log_every", "evaluate_every")
        COUNT.check(self, "accumulation", "keep_checkpoints", "max_nonfinite")
        SEED.check(self, "seed")
        check_device(self, "device")
        check_text(self, "wandb")
