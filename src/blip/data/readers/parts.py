"""The files of one key, and the sample that they make."""

from dataclasses import dataclass
from typing import Any

from blip.data.sample import Sample
from blip.data.texts import NOT_A_STRING, TEXT_LIMIT, TOO_LONG, sound_texts
from blip.files import parse_json


@dataclass(slots=True)
class Parts:
    """The members of one key, before they are a sample."""

    image: bytes | None = None
    extension: str = "jpg"
    text: bytes | None = None
    meta: bytes | None = None
    more_images: tuple[bytes, ...] = ()
    video: bytes | None = None


def make_sample(key: str, parts: Parts, duplicate: bool) -> Sample:
    """A sample of the members of a key, with the first of its faults, if it has any."""
    meta, texts, faults = _texts(parts)
    if parts.image is None and parts.video is None:
        faults.insert(0, "missing_image")
    if duplicate:
        faults.insert(0, "duplicate_key")
    error = faults[0] if faults else None
    more, video = parts.more_images, parts.video
    return Sample(key, parts.image, texts, meta, error, parts.extension, more, video)


def _texts(parts: Parts) -> tuple[dict[str, Any], tuple[str, ...], list[str]]:
    faults: list[str] = []
    meta: dict[str, Any] = {}
    if parts.meta is not None:
        try:
            loaded = parse_json(parts.meta)
            meta = loaded if isinstance(loaded, dict) else {}
        except ValueError:
            faults.append("broken_json")
    captions = meta.get("captions")
    if isinstance(captions, list) and captions:
        texts, fault = sound_texts(captions)
        # A list of other things under this name has another meaning: the text beside it counts.
        others = fault == NOT_A_STRING and parts.text is not None
        if not others and (texts or parts.text is None):
            return meta, texts, [*faults, fault] if fault else faults
    if parts.text is None:
        return meta, (), faults
    if len(parts.text) > TEXT_LIMIT:
        return meta, (), [*faults, TOO_LONG]
    texts, fault = sound_texts([parts.text])
    return meta, texts, [*faults, fault] if fault else faults
