"""Decodes the pictures of samples in threads, one batch ahead of the models, and sends them."""

from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice

from torch import Tensor

from blip.capfilt.filters.picture import image_hash
from blip.capfilt.ledger.records import MISSING_TEXT, TEXT_FAULTS
from blip.capfilt.models.protocols import Models
from blip.data.config import MAX_PIXELS
from blip.data.images import BadImageError, decode_image, one_large_picture_at_a_time
from blip.data.keys import KEY_LIMIT, storable
from blip.data.sample import Sample
from blip.data.transforms import eval_transform

DECODERS = 4
"""Threads that decode; Pillow releases the interpreter lock meanwhile."""
MAX_DECODERS = 16
"""The same where a GPU waits for pictures and there are enough cores."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A sample whose picture was decoded, or the picture's fault."""

    sample: Sample
    fault: str | None = None
    seen: "Seen | None" = None
    """What the ledger records about the picture."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Size and hash of a decoded picture."""

    width: int
    height: int
    hash: int | None


@dataclass(frozen=True, slots=True)
class OpenedBatch:
    """Samples in their order, and normalised pixels (3, size, size) of those without a fault."""

    samples: list[Opened]
    for_captioner: Sequence[Tensor]
    for_filter: Sequence[Tensor]


_Pictures = dict[int, Tensor]
"""One picture, by the side of the square to which it is resized."""


def open_batches(
    samples: Iterator[Sample],
    size: int,
    models: Models,
    decoders: int = DECODERS,
    max_pixels: int = MAX_PIXELS,
) -> Generator[OpenedBatch, None, None]:
    """Batches of `size` samples in order, pictures resized to the squares that the models read.

    While the caller works on a batch, `decoders` threads decode the next one, and another sends it
    to the models. A picture of more than `max_pixels` is a bad sample.
    """
    of_captioner, of_filter = models.captioner.image_size, models.filter.image_size
    sides = frozenset((of_captioner, of_filter))
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(decoders) as pool:
        open_one = partial(_open, sides=sides, max_pixels=max_pixels)

        def read() -> OpenedBatch:
            opened = list(pool.map(open_one, islice(samples, size)))
            pictures = [found for _, found in opened if found is not None]
            return OpenedBatch(
                [sample for sample, _ in opened],
                models.send_to_captioner([found[of_captioner] for found in pictures]),
                models.send_to_filter([found[of_filter] for found in pictures]),
            )

        following = reader.submit(read)
        while (batch := following.result()).samples:
            following = reader.submit(read)
            yield batch


def _open(
    sample: Sample, sides: frozenset[int], max_pixels: int
) -> tuple[Opened, _Pictures | None]:
    try:
        return _decode(sample, sides, max_pixels)
    except BadImageError as bad:
        return Opened(sample, str(bad)), None


def _decode(sample: Sample, sides: frozenset[int], max_pixels: int) -> tuple[Opened, _Pictures]:
    """The picture resized to every side; the decoded picture itself is freed at once."""
    reason = (sample.error or "").partition(":")[0]
    if sample.error is not None and reason not in TEXT_FAULTS | {MISSING_TEXT}:
        raise BadImageError(sample.error)
    if sample.image is None:
        raise BadImageError("missing_image")
    if sample.key.rpartition("/")[2] in ("", "."):
        raise BadImageError("empty_key")
    if len(storable(sample.key).encode()) > KEY_LIMIT:
        raise BadImageError("key_too_long")
    with one_large_picture_at_a_time(sample.image, max_pixels):
        image = decode_image(sample.image, max_pixels)
        pictures = {side: eval_transform(image, side) for side in sides}
        seen = Seen(image.width, image.height, image_hash(image))
        return Opened(sample, seen=seen), pictures
