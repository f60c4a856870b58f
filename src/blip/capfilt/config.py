"""The configurations of a CapFilt job and of a recut; loads no torch."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from blip.capfilt.filters.config import FilterRules, JobRules
from blip.config.ranges import (
    BATCH_SIZE,
    COUNT,
    DEVICE,
    NOT_EMPTY,
    PLACE,
    PROCESSES,
    SEED,
    SHARE,
    PrecisionChoice,
    Range,
    RangeError,
    check_fields,
)
from blip.config.strict import added, formerly
from blip.data.config import MAX_PIXELS
from blip.generation.config import CompileChoice, DecodingConfig, check_captions

ROWS = 1000
"""Rows of a table, or pictures of a folder, that make a shard by default."""
NUCLEUS = DecodingConfig(kind="nucleus", top_p=0.9, min_length=5, max_length=20)
"""BLIP, section 4.2: sampled captions are noisier and more diverse, and train better."""

STOPPED = "stopped; {out} keeps finished shards; run the same command again to resume"
"""What a job or a recut says when a signal stops it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CapFiltConfig:
    """Caption the images of some shards, then keep the texts that match their image."""

    captioner: Annotated[str, PLACE]
    """Checkpoint of the captioner: a folder, a file, hf:ORG/NAME or original:NAME."""
    filter: Annotated[str, PLACE]
    """Checkpoint of the filter, fine-tuned with ITC and ITM: likewise. It may be the captioner."""
    data: tuple[str, ...]
    """What to clean: tars, tables (.parquet, .csv, .tsv, .json), folders of pictures, globs, brace
    ranges."""
    out: Annotated[str, PLACE]
    """Folder for shards, ledger and report. A stopped job resumes from it."""
    threshold: Annotated[float, SHARE] = 0.5
    """Least probability of a match with which a text is kept."""
    rules: FilterRules = FilterRules()
    """Rules that a text has to pass besides the threshold."""
    job_rules: JobRules = JobRules()
    """Rules that compare all texts and images of the job; applied when all shards are done."""
    seed: Annotated[int, SEED] = 0
    """Seed of nucleus sampling."""
    captions: int = 1
    """Synthetic texts written for each image; 0 only filters."""
    decoding: DecodingConfig = field(default=NUCLEUS, metadata=formerly("search"))
    batch_size: Annotated[int | Literal["auto"], BATCH_SIZE] = "auto"
    """Images at a time; auto is the size that is fastest on the device and fits into memory. A job
    keeps the size it began with; a shard that runs out of memory is done again with half."""
    rows: Annotated[int, COUNT] = ROWS
    """Rows of a table, or pictures of a folder, that make a shard."""
    max_pixels: Annotated[int, COUNT] = MAX_PIXELS
    """Width times height of the largest picture that is read. Others are bad samples."""
    write: Literal["shards", "texts"] = "shards"
    """Shards of images and kept texts, or tables of the kept texts alone."""
    engine: Literal["local", "ray"] = "local"
    """Processes on this machine, or actors on a Ray cluster. The output is the same."""
    workers: Annotated[int | None, Range(whole=True, least=1, most=PROCESSES.most)] = None
    """Processes or actors; none is one for each CPU, or for each GPU that is used, as far as memory
    allows. The output is the same."""
    ray_address: Annotated[str | None, NOT_EMPTY] = None
    """Address of a running Ray cluster, HOST:PORT or auto; none starts one on this machine."""
    gpus_per_worker: Annotated[float | None, Range(least=0, most=1024)] = None
    """GPUs of each worker on Ray, such as 0.5; none is 1 where there are GPUs."""
    device: Annotated[str, DEVICE] = "auto"
    """Where the model computes: auto, cpu, cuda or cuda:N. Here, both models."""
    captioner_device: Annotated[str | None, DEVICE] = None
    """Where the captioner computes; none is as --device."""
    filter_device: Annotated[str | None, DEVICE] = None
    """Where the filter computes; none is as --device."""
    precision: PrecisionChoice = "auto"
    """Number format; auto is bfloat16 on a GPU that has it, else float32; int8 is for CPUs. Both
    models must be on a GPU of this machine. A job keeps the format it began with."""
    compile: CompileChoice = field(default="auto", metadata=added())
    """Passes of both models: on has torch compile them, and on a GPU captures them as CUDA graphs,
    which takes minutes in each worker, and stops the job if it fails; off does not compile, and
    auto is off for now. Scores round differently, and a job keeps the choice that it began with."""
    max_bad: str | float | None = None
    """Share of bad samples at which the job stops, such as 5% or 0.05; none only counts them."""

    def __post_init__(self) -> None:
        """Refuse values out of range, and options that contradict each other."""
        check_fields(self)
        _check_places(self)
        check_captions(self.captions, self.decoding)
        _share(self.max_bad)
        if self.precision == "int8" and self.compile == "on":
            raise RangeError("compile", self.compile, "off, with precision int8")
        for name in ("ray_address", "gpus_per_worker"):
            if self.engine != "ray" and getattr(self, name) is not None:
                raise RangeError(name, getattr(self, name), f"none, with engine {self.engine}")

    @property
    def devices(self) -> tuple[str, str]:
        """Devices of captioner and filter, as configured."""
        return self.captioner_device or self.device, self.filter_device or self.device

    @property
    def on_cpus(self) -> bool:
        """Whether both models run on the CPU."""
        return set(self.devices) == {"cpu"}

    @property
    def bad_share(self) -> float | None:
        """`max_bad` as a share in [0, 1]."""
        return _share(self.max_bad)


@dataclass(frozen=True, kw_only=True, slots=True)
class RecutConfig:
    """Make another data set from the ledger of a finished job, without a model."""

    ledger: Annotated[str, PLACE]
    """Folder of the job, or its ledger/."""
    out: Annotated[str, PLACE]
    """Folder for shards, ledger and report. A stopped cut resumes from it."""
    threshold: Annotated[float, SHARE] = 0.5
    """Least probability of a match with which a text is kept."""
    rules: FilterRules = FilterRules()
    """Rules that a text has to pass besides the threshold."""
    job_rules: JobRules = JobRules()
    """Rules that compare all texts and images of the job."""
    data: tuple[str, ...] = ()
    """The inputs that the job read; by default those in its config.json."""
    write: Literal["shards", "texts"] = "shards"
    """Shards of images and kept texts, or tables of the kept texts alone."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_fields(self)
        _check_places(self)


def _check_places(config: "CapFiltConfig | RecutConfig") -> None:
    if "://" in config.out:
        raise RangeError("out", config.out, "a folder of this machine")
    if not config.data and isinstance(config, CapFiltConfig):
        raise RangeError("data", "empty", "one shard, table or folder, or more")
    if not all(place.strip() for place in config.data):
        raise RangeError("data", repr(""), "paths, globs and brace ranges that are not empty")


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
        raise RangeError("max_bad", value, "a share such as 5% or 0.05")
    return share
