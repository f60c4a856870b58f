"""How weights are updated, for how long, and what is kept on the way; loads no torch."""

from dataclasses import dataclass
from typing import Annotated, Literal

from blip.config.ranges import (
    COUNT,
    DEVICE,
    NOT_EMPTY,
    POSITIVE,
    SEED,
    SHARE_BELOW_ONE,
    Precision,
    Range,
    check_fields,
)

STEPS = Range(whole=True, least=1, most=10**12)


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerConfig:
    """AdamW and the course of its learning rate; the defaults are the paper's for ViT-B."""

    lr: Annotated[float, Range(above=0, most=1000)] = 3e-4
    """Learning rate at the end of the warm-up; it decays from there."""
    weight_decay: Annotated[float, Range(least=0, most=1000)] = 0.05
    """On matrices alone: biases and norms do not decay."""
    betas: Annotated[tuple[float, float], SHARE_BELOW_ONE] = (0.9, 0.999)
    warmup_steps: Annotated[int, Range(whole=True, least=0, most=STEPS.most)] = 3000
    warmup_lr: Annotated[float, Range(least=0, most=1000)] = 1e-6
    """Where the linear warm-up starts."""
    schedule: Literal["epoch_decay", "cosine", "constant"] = "epoch_decay"
    epoch_decay: Annotated[float, Range(above=0, most=1000)] = 0.9
    """Factor an epoch, for the schedule of that name."""
    final_lr: Annotated[float, Range(least=0, most=1000)] = 1e-6
    """Where the cosine ends, and what the decay by epochs does not go below."""
    clip_norm: Annotated[float | None, POSITIVE] = None
    """Max gradient norm; larger gradients are scaled down to it."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_fields(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """A training run around its task."""

    steps: Annotated[int, STEPS]
    """Updates of the weights."""
    optimizer: OptimizerConfig = OptimizerConfig()
    accumulation: Annotated[int, COUNT] = 1
    """Batches whose gradients are averaged for one update."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """Under torchrun: a replica of model and optimiser in each process, or a shard."""
    precision: Precision = "float32"
    recompute: bool = False
    """Keep what goes into each layer alone, and compute the inside again in the backward pass: a
    fraction of the memory for a third more work."""
    compile: bool = False
    """Let torch.compile fuse what it can; the first step takes minutes."""
    checkpoint_every: Annotated[int, STEPS] = 1000
    """Steps between checkpoints."""
    keep_checkpoints: Annotated[int, COUNT] = 2
    log_every: Annotated[int, STEPS] = 50
    evaluate_every: Annotated[int | None, STEPS] = None
    """Steps between evaluations on held-out data; none makes no evaluation."""
    seed: Annotated[int, SEED] = 0
    tensorboard: bool = False
    """Show what is logged on TensorBoard, too: in the folder `tensorboard` of the run."""
    wandb: Annotated[str | None, NOT_EMPTY] = None
    """A project of Weights & Biases to show it in, too."""
    max_nonfinite: Annotated[int, COUNT] = 20
    """Updates in a row that may fail for a loss or gradient that is not finite."""
    device: Annotated[str, DEVICE] = "auto"
    """`auto` takes a GPU where there is one."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_fields(self)
