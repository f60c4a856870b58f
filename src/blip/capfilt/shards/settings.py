"""Everything that the output of a shard depends on, except the shard itself."""

from dataclasses import dataclass, field
from typing import Any, Literal

from blip.capfilt.filters.config import FilterRules, JobRules
from blip.capfilt.shards.layout import Write
from blip.config import strict
from blip.config.ranges import InferencePrecision
from blip.data.config import MAX_PIXELS
from blip.generation.config import DecodingConfig

UNWRITTEN: dict[str, Any] = {"max_pixels": MAX_PIXELS, "compile": "off"}
"""Settings that are not written where they are these, so that jobs of earlier versions, which had
no other, can be resumed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Everything that a shard's output depends on, except the shard."""

    captioner: str
    """Fingerprint of weights, tokenizer and sizes."""
    filter: str
    threshold: float
    seed: int
    captions: int
    decoding: DecodingConfig = field(metadata=strict.formerly("search"))
    batch_size: int
    precision: InferencePrecision = "float32"
    compile: Literal["on", "off"] = "off"
    write: Write = "shards"
    max_pixels: int = MAX_PIXELS
    rules: FilterRules = FilterRules()
    job_rules: JobRules = JobRules()
    """Applied when all shards are done."""

    def to_json(self) -> dict[str, Any]:
        """The settings as a marker has them."""
        settings = strict.to_json(self)
        for name, value in UNWRITTEN.items():
            if settings[name] == value:
                del settings[name]
        return settings
