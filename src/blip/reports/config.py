"""What is measured of a checkpoint; loads no torch."""

from dataclasses import dataclass

from blip.generation.config import SearchConfig
from blip.tasks.config import RetrievalEvaluationConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig:
    """Retrieval and captioning of one checkpoint on one split."""

    checkpoint: str
    data: tuple[str, ...]
    """Shards with true captions."""
    retrieval: RetrievalEvaluationConfig = RetrievalEvaluationConfig()
    captioning: SearchConfig = SearchConfig()
    batch_size: int = 64
