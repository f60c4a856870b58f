"""One image with its texts, as it came from wherever it came from."""

from dataclasses import dataclass, field
from typing import Any

IMAGE_KEY = "image_key"
"""In `meta`, and so in KEY.json: which image it is, as PLACE/NAME; see `data/identity.py`."""


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


def _is_name(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and value != ""
