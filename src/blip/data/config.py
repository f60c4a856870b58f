"""What is read and how it becomes batches; loads no torch."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from blip.config.ranges import (
    BATCH_SIZE,
    COUNT,
    NOT_EMPTY,
    POSITIVE,
    PROCESSES,
    SEED,
    SHARE,
    SIDE,
    UTF8,
    Range,
    check_fields,
)

MAX_PIXELS = 100_000_000
"""Width times height of the largest picture that is read, unless another limit is given."""
WEIGHT = Range(least=1e-6, most=1000)
"""How often a pair comes in an epoch; a source without weight is left out instead."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageConfig:
    """How a picture becomes pixels for training; the defaults are the paper's pre-training."""

    size: Annotated[int, SIDE] = 224
    """Side of the square, in pixels."""
    crop_scale: Annotated[tuple[float, float], Range(above=0, most=1)] = (0.2, 1.0)
    """Least and most share of the picture's area that a random crop keeps."""
    flip: bool = True
    """Mirror every other picture; not for captions that tell left from right."""
    augment_ops: Annotated[int, Range(whole=True, least=0, most=100)] = 2
    """Operations of RandAugment (N); 0 for none."""
    augment_magnitude: Annotated[int, Range(whole=True, least=0, most=10)] = 5
    """Strength of RandAugment (M), of 10."""
    max_pixels: Annotated[int, COUNT] = MAX_PIXELS
    """Width times height of the largest picture that is read."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_fields(self)
        Range(least=self.crop_scale[0], most=1).check(self, "crop_scale")

    @property
    def plain(self) -> bool:
        """Whether every pass over a picture gives the same pixels."""
        return self.crop_scale == (1.0, 1.0) and not self.flip and self.augment_ops == 0


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceConfig:
    """Places that are read together, and how often their pairs come.

    A path alone, as in `--data.sources shards/web`, stands for a source of that name and weight 1.
    """

    name: Annotated[str, NOT_EMPTY]
    shards: tuple[str, ...]
    """Paths, folders, globs or brace ranges of .tar files; s3://, gs://, https:// and pipe:.
    Tables and folders of pictures, too, where the set is read into memory."""
    weight: Annotated[float, WEIGHT] = 1.0
    """How often each pair is seen in an epoch (each image with one of its texts, where shards are
    streamed); a fraction is drawn anew each epoch."""

    @classmethod
    def from_text(cls, place: str) -> "SourceConfig":
        """The source that a path alone stands for; its name is the folder's."""
        parts = [part for part in re.split(r"[/\\]", place.partition("?")[0]) if part]
        plain = [part.removesuffix(".tar") for part in parts if not re.search(r"[*?\[{]", part)]
        return cls(name=plain[-1] if plain else place, shards=(place,))

    def __post_init__(self) -> None:
        """Refuse an empty or a negative source."""
        check_fields(self)
        if not self.shards:
            raise ValueError(f"shards of source {self.name} must not be empty")


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """A weighted mixture of sources, cut into batches."""

    sources: tuple[SourceConfig, ...]
    """What is trained on: paths, or sources with a name, shards and a weight."""
    batch_size: Annotated[int, BATCH_SIZE]
    """Examples in a batch, over all processes that train together: pairs of an image and a
    text, or a task's questions or statements."""
    image: ImageConfig = ImageConfig()
    max_tokens: Annotated[int, Range(whole=True, least=3, most=2**16)] = 30
    """Longest text, start and end token included."""
    prompt: Annotated[str, UTF8] = ""
    """Put before every text, such as "a picture of "."""
    workers: Annotated[int, PROCESSES] = 0
    """Processes that decode; 0 decodes in the training process."""
    seed: Annotated[int, SEED] = 0
    stream: Literal["auto", "always", "never"] = "auto"
    """Whether shards are read as they are needed, or whole into memory at the start. "auto" streams
    what is remote or larger than 2 GiB together."""
    lanes: Annotated[int, Range(whole=True, least=1, most=2**16)] = 64
    """Places in the stream that are read side by side. Processes whose number divides it read
    shards of their own."""
    shuffle_buffer: Annotated[int, COUNT] = 4096
    """Samples of a lane of the stream that are shuffled together."""
    max_bad: Annotated[float, SHARE] = 0.2
    """Share of bad samples in the stream that stops the run."""
    cache: str = ""
    """Folder for counts and for copies of remote shards; BLIP_CACHE or ~/.cache/blip if empty."""
    cache_gigabytes: Annotated[float, POSITIVE] = 200.0
    """Most space for copies of remote shards, in 10^9 bytes."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        if not self.sources:
            raise ValueError("sources must name at least one source")
        check_fields(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Collection:
    """What is packed, and how; the same command alone writes a stopped pack anew."""

    source: str
    """Shards, a table, annotations or a folder of pictures; or the same of videos."""
    images: Path | None = None
    """Folder at which paths in tables and annotation files start, and below which videos are."""
    split: str | None = None
    """Split of a Karpathy file, of MSR-VTT's, or of a table with a column `split`."""
    per_shard: Annotated[int, COUNT] = 1000
    """Samples of a shard."""
    max_pixels: Annotated[int, COUNT] = MAX_PIXELS
    """Width times height of the largest picture that is read."""
    allow_missing_text: bool = False
    """Pack pictures (or videos) without a text, too, with an empty one: CapFilt captions pictures.
    """

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_fields(self)
