"""What is measured of a checkpoint; loads no torch."""

from dataclasses import dataclass

from blip.config.ranges import BATCH_SIZE, COUNT, check_text
from blip.data.config import MAX_PIXELS
from blip.generation.config import SearchConfig
from blip.tasks.config import RetrievalEvaluationConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig:
    """Retrieval and captioning of one checkpoint on one split."""

    checkpoint: str
    data: tuple[str, ...]
    """Tars, tables or folders of pictures, with true captions."""
    retrieval: RetrievalEvaluationConfig = RetrievalEvaluationConfig()
    captioning: SearchConfig = SearchConfig()
    batch_size: int = 64
    max_pixels: int = MAX_PIXELS
    """Width times height of the largest picture that is read."""

    def __post_init__(self) -> None:
        """Refuse a split without shards, and batches of none."""
        check_text(self, "checkpoint")
        if not self.data:
            raise ValueError("data must name at least one shard")
        BATCH_SIZE.check(self, "batch_size")
        COUNT.check(self, "max_pixels")
