"""What is read and how it becomes batches; loads no torch."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageConfig:
    """How a picture becomes pixels for training; the defaults are the paper's pre-training."""

    size: int = 224
    """Side of the square, in pixels."""
    crop_scale: tuple[float, float] = (0.2, 1.0)
    """Least and most share of the picture's area that a random crop keeps."""
    flip: bool = True
    """Mirror every other picture; not for captions that tell left from right."""
    augment_ops: int = 2
    """Operations of RandAugment (N); 0 for none."""
    augment_magnitude: int = 5
    """Strength of RandAugment (M), of 10."""

    def __post_init__(self) -> None:
        """Refuse numbers that cannot work."""
        if self.size < 1:
            raise ValueError(f"size must be positive, got {self.size}")
        low, high = self.crop_scale
        if not 0.0 < low <= high <= 1.0:
            raise ValueError(
                f"crop_scale must be two shares, 0 < low <= high <= 1, got {low} {high}"
            )
        if self.augment_ops < 0:
            raise ValueError(f"augment_ops must not be negative, got {self.augment_ops}")
        if not 0 <= self.augment_magnitude <= 10:
            raise ValueError(f"augment_magnitude must lie in 0..10, got {self.augment_magnitude}")

    @property
    def plain(self) -> bool:
        """Whether every pass over a picture gives the same pixels."""
        return self.crop_scale == (1.0, 1.0) and not self.flip and self.augment_ops == 0


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceConfig:
    """Shards that belong together, and how often their pairs come."""

    name: str
    shards: tuple[str, ...]
    """Paths, folders, globs or brace ranges of .tar files."""
    weight: float = 1.0
    """How often each pair is seen in an epoch; a fraction is drawn anew each epoch."""

    def __post_init__(self) -> None:
        """Refuse an empty or a negative source."""
        if not self.shards:
            raise ValueError(f"shards of source {self.name} must not be empty")
        if self.weight < 0:
            raise ValueError(f"weight must not be negative, got {self.weight}")


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """A weighted mixture of sources, cut into batches."""

    sources: tuple[SourceConfig, ...]
    batch_size: int
    """Pairs in a batch, those of all processes that train together."""
    image: ImageConfig = ImageConfig()
    max_tokens: int = 30
    """Longest text, start and end token included."""
    prompt: str = ""
    """Put before every text, such as "a picture of "."""
    workers: int = 0
    """Processes that decode; 0 decodes in the training process."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse numbers that cannot work."""
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be positive, got {self.batch_size}")
        if self.max_tokens < 3:
            raise ValueError(f"max_tokens must be at least 3, got {self.max_tokens}")
        if self.workers < 0:
            raise ValueError(f"workers must not be negative, got {self.workers}")
