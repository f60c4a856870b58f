"""One image with its texts, as it came from wherever it came from."""

from dataclasses import dataclass, field
from typing import Any


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
    def image_key(self) -> str:
        """Which image it is: several samples may hold the same one (CapFilt writes one a text)."""
        return str(self.meta.get("key", self.key))
