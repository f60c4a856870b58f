"""One image with its texts, as it came from wherever it came from."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

IMAGE_KEY = "image_key"
"""In `meta`, and so in KEY.json: which image it is, as PLACE/NAME; see `data/identity.py`."""

OFFICIAL_ID = "image_id"
"""In `meta`: the number that the data set's annotation file gives the image."""
DOMAIN = "domain"
"""In `meta`: NoCaps' in-domain, near-domain or out-domain."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Bytes of an image, its texts and what else is known of it.

    `error` is None for a sound sample; otherwise it says what is wrong, and `image` or `texts` may
    be missing.
    """

    key: str
    image: bytes | None
    texts: tuple[str, ...] = ()
    meta: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    extension: str = "jpg"
    more_images: tuple[bytes, ...] = ()
    """Further images: the second one of a statement about two, the later frames of a clip."""
    video: Path | bytes | None = None
    """In the place of an image a video, for those who read it: where it lies, or its bytes."""

    @property
    def image_key(self) -> str | None:
        """Which image it is, unique in the folder of its shard; None where no other sample has it.

        Several samples may hold the same image: CapFilt writes one a text, tables have a row for
        every caption. Older outputs name the image by `key` in KEY.json alone.
        """
        own = self.meta.get(IMAGE_KEY)
        if _is_name(own):
            return str(own)
        key = self.meta.get("key")
        return str(key) if _is_name(key) and str(key) != self.key else None


class Selected(NamedTuple):
    """The part of a sample that examples are made of."""

    sample: Sample | None
    """None where the sample cannot be used."""
    num_examples: int
    """How many it holds: pairs, questions, statements."""
    fault: str | None
    """What is wrong with the sample, or with parts of it while the rest is used."""


class OrderedSample(NamedTuple):
    """The sample at a position of an order."""

    sample: Sample
    shard: str
    """Where it comes from, for messages."""
    image_id: int
    """Equal for samples of the same image."""
    number: int | None = None
    """Which of the sample's examples is due; None where one is to be drawn."""
    cache_key: Hashable = None
    """Equal whenever the same sample comes again, if it lies in memory; None where it does not."""


def _is_name(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and value != ""
