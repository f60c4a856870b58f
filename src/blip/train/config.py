"""How weights are updated, for how long, and what is kept on the way; loads no torch."""

from dataclasses import dataclass
from typing import Literal


def _positive(config: object, *names: str) -> None:
    for name in names:
        if getattr(config, name) <= 0:
            raise ValueError(f"{name} must be positive, got {getattr(config, name)}")


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
    """Longest gradient; longer ones are scaled down to it."""

    def __post_init__(self) -> None:
        """Refuse numbers that cannot work."""
        _positive(self, "lr", "epoch_decay")
        for name in ("weight_decay", "warmup_steps", "warmup_lr", "final_lr"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        for beta in self.betas:
            if not 0.0 <= beta < 1.0:
                raise ValueError(f"betas must lie in [0, 1), got {beta}")
        if self.clip_norm is not None and self.clip_norm <= 0:
            raise ValueError(f"clip_norm must be positive, got {self.clip_norm}")


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
    precision: Literal["float32", "bfloat16"] = "float32"
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
        """Refuse counts that are none."""
        _positive(
            self,
            "steps",
            "accumulation",
            "checkpoint_every",
            "keep_checkpoints",
            "log_every",
            "max_nonfinite",
        )
        if self.evaluate_every is not None:
            _positive(self, "evaluate_every")
