"""Loads captioner and filter from their checkpoints, each onto its device."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, final

import torch
from torch import Tensor

from blip.capfilt.models.memory import (
    available_memory,
    bytes_of_image,
    bytes_of_weights,
    free_memory,
    unify_out_of_memory,
)
from blip.capfilt.models.protocols import Models, Score, Scores, Send
from blip.capfilt.stages.pictures import DECODERS, MAX_DECODERS
from blip.config.ranges import InferencePrecision
from blip.errors import BlipError, UsageError
from blip.generation.config import CompileChoice, DecodingConfig
from blip.inference.captioner import Captioner
from blip.inference.checkpoint import Loaded, fingerprint, open_checkpoint, read_sizes
from blip.inference.decoding import rows_of_each, start_within
from blip.inference.matcher import Matcher
from blip.inference.pixels import NormalisedImage
from blip.inference.streams import BEFORE_OTHERS, OwnStream
from blip.log import say
from blip.model.blip import Blip
from blip.model.config import ModelConfig
from blip.nn.device import NumberFormat, choose_dtype, choose_format
from blip.processes import usable_cpus

LARGEST_BATCH = {"cpu": 64, "cuda": 128}
"""Largest useful batch, however small the model."""
SMALLEST_BATCH = 8
ENOUGH_WORK = 2e11
"""Multiplications of a batch above which a larger one is no faster on a CPU: four images of the
base size at 384 pixels have this many, and are as fast as eight."""
SHARE = 0.7
"""Part of the free memory that a batch may use."""


class ModelSource(Protocol):
    """The models of a job before they are loaded; it is sent to workers, which load them."""

    def fingerprints(self) -> tuple[str, str]:
        """Fingerprints of captioner and filter; raises UsageError if a checkpoint is missing."""
        ...

    def batch_size(self) -> int:
        """The fastest batch size that fits into memory."""
        ...

    def default_workers(self, batch_size: int) -> int:
        """How many workers fit into this machine."""
        ...

    def load(self, place: int, expected: tuple[str, str]) -> Models:
        """The models of the worker at a place, from 0.

        Raises BlipError if their fingerprints are not the expected ones, of captioner and
        filter: all workers of a job must use the models that it began with.
        """
        ...


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointModels:
    """The models that two checkpoints hold, in whatever layout."""

    captioner: str
    filter: str
    decoding: DecodingConfig
    captions: int
    captioner_device: str
    """auto, cpu, cuda or cuda:N; auto and cuda distribute workers over all GPUs."""
    filter_device: str
    precision: InferencePrecision = "float32"
    compile: CompileChoice = "off"

    def fingerprints(self) -> tuple[str, str]:
        """Fingerprints of weights, tokenizer and sizes, as the ledger names them.

        Raises ArgumentError if the captioner has too few positions for the texts.
        """
        captioner = open_checkpoint(self.captioner)
        sizes = captioner.contents.config.text
        start_within(sizes, captioner.tokenizer, self.decoding, "decoding")
        return captioner.fingerprint(), fingerprint(self.filter)

    def batch_size(self) -> int:
        """A power of two: the fastest on the device, halved until it fits into one worker.

        The memory of a GPU on another machine is unknown; there a worker halves it where it must.
        """
        sizes = self._sizes()
        placed = zip(self._names, sizes, strict=True)
        fastest = size = min(_fastest_batch(_kind(name), config) for name, config in placed)
        tightest: _Room | None = None
        for room in self._rooms(sizes):
            while size > 1 and size * room.of_image > SHARE * room.free:
                size, tightest = size // 2, room
        if tightest is not None:
            say(
                f"capfilt: {size} images at a time in place of {fastest}, which would be faster: "
                f"{max(tightest.free, 0) / 2**30:.1f} GiB of memory are free on device "
                f"{tightest.device} beside the weights, and an image may take "
                f"{tightest.of_image / 2**20:.0f} MiB"
            )
        return size

    def default_workers(self, batch_size: int) -> int:
        """One for each GPU that is used, otherwise one for each CPU, as far as memory allows.

        Raises UsageError if a GPU that is named is not there.
        """
        if any(_device(name, 0) != "cpu" for name in self._names):
            over_all = any(name in ("auto", "cuda") for name in self._names)
            return torch.cuda.device_count() if over_all else 1
        sizes = self._sizes()
        weights = sum(self._bytes_of_weights(sizes))
        # One after the other: memory of the captioner is free again for the filter.
        each = weights + batch_size * max(self._bytes_of_image(sizes))
        free = available_memory()
        return (
            usable_cpus() if free is None else max(1, min(usable_cpus(), int(SHARE * free / each)))
        )

    def load(self, place: int, expected: tuple[str, str]) -> Models:
        """Load both models onto the devices of a worker.

        Raises UsageError if a device is missing, or a model cannot do its part, and BlipError
        if a checkpoint is not, or no longer, the expected one.
        """
        of_captioner, of_filter = (_device(name, place) for name in self._names)
        check_precision(self.precision, (of_captioner, of_filter))
        number_format = choose_format(self.precision, torch.device(of_captioner))
        loaded = _load_expected(self.captioner, expected[0], of_captioner, number_format)
        if "causal" not in loaded.config.modes:
            raise UsageError(
                f"{self.captioner} has no text decoder, which a captioner needs; it can be the "
                "filter"
            )
        captioner = Captioner(loaded.model, loaded.tokenizer)
        loaded = _load_expected(self.filter, expected[1], of_filter, number_format)
        if "bidirectional" not in loaded.config.modes:
            raise UsageError(
                f"{self.filter} has no text encoder, which a filter needs; it can be the captioner"
            )
        matcher = Matcher(loaded.model, loaded.tokenizer)

        def compile_anew() -> None:
            # A worker that went on uncompiled would round otherwise than the job's markers say.
            captioner.compile(self.compile, required=True)
            matcher.compile(self.compile, required=True)

        def forget() -> None:
            compile_anew()
            free_memory()

        compile_anew()
        # Each step of the captioner waits for the one before; the filter fills what it leaves idle.
        first = OwnStream(captioner.device, captioner.dtype, priority=BEFORE_OTHERS)
        beside = OwnStream(matcher.device, matcher.dtype)
        return Models(
            _CheckpointCaptioner(captioner, self.decoding, first),
            _CheckpointFilter(matcher, beside),
            _sender(first),
            _sender(beside),
            forget,
        )

    @property
    def _names(self) -> tuple[str, str]:
        return self.captioner_device, self.filter_device

    def _sizes(self) -> tuple[ModelConfig, ModelConfig]:
        return read_sizes(self.captioner), read_sizes(self.filter)

    def _rooms(self, sizes: tuple[ModelConfig, ModelConfig]) -> Iterator["_Room"]:
        """The memory of each device of one worker, but for those where it is unknown."""
        weights, of_image = self._bytes_of_weights(sizes), self._bytes_of_image(sizes)
        free = [_free(name) for name in self._names]
        if _are_apart(*self._names):
            for name, found, taken, each in zip(self._names, free, weights, of_image, strict=True):
                if found is not None:
                    yield _Room(name, found - taken, each)
            return
        least = min((found for found in free if found is not None), default=None)
        if least is not None:
            # On a CPU memory of the captioner is free again for the filter; on a GPU both work.
            together = max if _kind(self.captioner_device) == "cpu" else sum
            name = self._names[free.index(least)]
            yield _Room(name, least - sum(weights), together(of_image))

    def _bytes_of_weights(self, sizes: tuple[ModelConfig, ModelConfig]) -> tuple[int, int]:
        captioner, matcher = sizes
        return (
            bytes_of_weights(captioner, self.precision),
            bytes_of_weights(matcher, self.precision),
        )

    def _bytes_of_image(self, sizes: tuple[ModelConfig, ModelConfig]) -> tuple[int, int]:
        captioner, matcher = sizes
        written = rows_of_each(self.decoding, max(self.captions, 1))
        return (
            bytes_of_image(captioner, written, self.precision),
            bytes_of_image(matcher, self.captions + 1, self.precision),
        )


class _Room(NamedTuple):
    """Bytes of a device that are free beside the weights, and how many of them an image takes."""

    device: str
    free: int
    of_image: int


@final
@dataclass(frozen=True, slots=True)
class _CheckpointCaptioner:
    captioner: Captioner
    decoding: DecodingConfig
    stream: OwnStream

    @property
    def image_size(self) -> int:
        return self.captioner.model.config.vision.image_size

    def caption(self, images: Sequence[Tensor], seeds: Sequence[Sequence[int]]) -> list[list[str]]:
        count, together = len(seeds[0]), len(images)
        ready = [*map(NormalisedImage, images)]
        with unify_out_of_memory(), self.stream.use():
            return self.captioner.captions(
                ready, count, self.decoding, seeds=seeds, batch_size=together
            )


@final
@dataclass(frozen=True, slots=True)
class _CheckpointFilter:
    matcher: Matcher
    stream: OwnStream

    @property
    def image_size(self) -> int:
        return self.matcher.model.config.vision.image_size

    def begin(
        self, images: Sequence[Tensor], texts: Sequence[Sequence[str]]
    ) -> Callable[[], Scores]:
        ready = [*map(NormalisedImage, images)]
        with unify_out_of_memory(), self.stream.use():
            begun = self.matcher.begin_scores(ready, texts, batch_size=len(images))

        def finish() -> Scores:
            with unify_out_of_memory(), self.stream.use():
                found = begun()
            return [[Score(one.probability, one.cosine) for one in row] for row in found]

        return finish


def _sender(stream: OwnStream) -> Send:
    def send(images: Sequence[Tensor]) -> Sequence[Tensor]:
        with unify_out_of_memory():
            return stream.upload(images)

    return send


def _load_expected(
    source: str, expected: str, device: str, number_format: NumberFormat
) -> Loaded[Blip]:
    """A model that has the expected fingerprint; raises BlipError for another."""
    checkpoint = open_checkpoint(source)
    found = checkpoint.fingerprint()
    if found != expected:
        raise BlipError(
            f"{source} changed since the job began: its weights, tokenizer or sizes have the "
            f"fingerprint {found}, the job has {expected}; put the former model back, or choose "
            "another --out"
        )
    return checkpoint.load_as(Blip, device, precision=number_format)


def choose_precision(devices: tuple[str, str]) -> InferencePrecision:
    """Precision for auto: bfloat16 where both GPUs of this machine support it, else float32.

    Raises UsageError if a GPU that is named is not there.
    """
    if not torch.cuda.is_available():
        return "float32"
    dtypes = {choose_dtype("auto", torch.device(_device(name, 0))) for name in devices}
    return "bfloat16" if dtypes == {torch.bfloat16} else "float32"


def check_precision(precision: InferencePrecision, devices: tuple[str, str]) -> None:
    """Raise UsageError where a device of this machine does not compute in int8."""
    if precision == "int8":
        for name in devices:
            choose_format(precision, torch.device(_kind(name)))


def choose_decoders(devices: tuple[str, str], workers: int) -> int:
    """Threads of a worker that decode: more where a GPU waits for pictures and cores are free."""
    if {_kind(name) for name in devices} == {"cpu"}:
        return DECODERS
    return min(max(usable_cpus() // workers, DECODERS), MAX_DECODERS)


def _kind(name: str) -> Literal["cpu", "cuda"]:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return "cpu" if name == "cpu" else "cuda"


def _are_apart(captioner_device: str, filter_device: str) -> bool:
    """Whether the models of every worker are on two devices."""
    one, other = captioner_device, filter_device
    return _kind(one) != _kind(other) or (":" in one and ":" in other and one != other)


def _fastest_batch(kind: Literal["cpu", "cuda"], config: ModelConfig) -> int:
    """The batch size above which a model is no faster; a power of two."""
    size = LARGEST_BATCH[kind]
    vision = config.vision
    each = vision.tokens * vision.depth * vision.width * (4 * vision.width + 2 * vision.mlp_width)
    while kind == "cpu" and size > SMALLEST_BATCH and size // 2 * each >= ENOUGH_WORK:
        size //= 2
    return size


def _device(name: str, place: int) -> str:
    """The device of the worker at a place; raises UsageError if this machine lacks it."""
    if _kind(name) == "cpu":
        return "cpu"
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    number = int(name.partition(":")[2] or 0)
    if number >= found:
        raise UsageError(f"device {name} is not there; this machine has {found} CUDA devices")
    return name if ":" in name else f"cuda:{place % found}"


def _free(name: str) -> int | None:
    """Bytes that are free on a device, the least of all for auto and cuda; None where unknown."""
    if _kind(name) == "cpu":
        return available_memory()
    if not torch.cuda.is_available():
        return None
    places = range(1 if ":" in name else torch.cuda.device_count())
    return min(torch.cuda.mem_get_info(_device(name, place))[0] for place in places)
