"""What a CapFilt job is asked to do; loads no torch."""

from dataclasses import dataclass

from blip.capfilt.filters.config import FilterRules
from blip.generation.config import SearchConfig

NUCLEUS = SearchConfig(kind="nucleus", top_p=0.9, min_length=5, max_length=20)
"""BLIP, section 4.2: sampled captions are noisier and more diverse, and train better."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CapFiltConfig:
    """Caption the images of some shards, then keep the texts that match their image."""

    captioner: str
    """Checkpoint or run folder of the captioner."""
    filter: str
    """Checkpoint or run folder of the filter, an ITM model; it may be the captioner's."""
    data: tuple[str, ...]
    """Shards to clean: .tar files, folders, globs or brace ranges."""
    out: str
    """Folder for shards, ledger and report; a job that was stopped goes on from it."""
    threshold: float = 0.5
    """Least probability of a match with which a text is kept."""
    rules: FilterRules = FilterRules()
    """What else a text has to obey."""
    seed: int = 0
    captions: int = 1
    """Synthetic texts written for each image; 0 only filters."""
    search: SearchConfig = NUCLEUS
    batch_size: int = 32
    """Images that are captioned and filtered together; smaller needs less memory."""
    workers: int | None = None
    """Processes; none is one a CPU, or one where a GPU does the work. The output is the same."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    max_bad: str | float | None = None
    """Most bad samples, such as 5% or 0.05, before the job stops; none only counts them."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if not self.data:
            raise ValueError("data must name at least one shard, got none")
        if not 0.0 <= self.threshold <= 1.0:
            raise ValueError(f"threshold must lie in [0, 1], got {self.threshold}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")
        if self.captions < 0:
            raise ValueError(f"captions must not be negative, got {self.captions}")
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be positive, got {self.batch_size}")
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers must be positive, got {self.workers}")
        _share(self.max_bad)

    @property
    def bad_share(self) -> float | None:
        """`max_bad` as a share in [0, 1]."""
        return _share(self.max_bad)


def _share(value: str | float | None) -> float | None:
    if value is None:
        return None
    try:
        if isinstance(value, str) and value.strip().endswith("%"):
            share = float(value.strip()[:-1]) / 100
        else:
            share = float(value)
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"max_bad must be a share such as 5% or 0.05, got {value}")
    return share
