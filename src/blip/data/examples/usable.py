"""The part of a sample that training and evaluation use: its picture and its sound texts."""

from typing import NamedTuple

from blip.data.captions import clean_caption
from blip.data.images import BadImageError, decode_image
from blip.data.sample import Sample, Selected
from blip.data.texts import MISSING, TEXT_FAULTS


class Usable(NamedTuple):
    """The texts of a sample that are not empty, and what is wrong with the others."""

    texts: list[str]
    """As they were written; none of them is empty once it is cleaned."""
    reason: str | None
    """Why the whole sample is left out; None where it is not, as far as its picture is sound."""
    lost: str | None
    """Why some of its texts are left out, while others are sound."""


def find_usable(sample: Sample) -> Usable:
    """Tell sound texts from bad ones, without decoding the picture."""
    texts = [text for text in sample.texts if clean_caption(text)]
    if sample.image is None:
        return Usable(texts, sample.error or "missing_image", None)
    if sample.error is None:
        return Usable(texts, None if texts else "empty_caption", None)
    if texts and sample.error.partition(":")[0] in TEXT_FAULTS:
        return Usable(texts, None, sample.error)
    return Usable(texts, sample.error, None)


def find_picture_fault(content: bytes, max_pixels: int) -> str | None:
    """Why a compressed picture cannot be decoded; None where it can."""
    try:
        decode_image(content, max_pixels)
    except BadImageError as bad:
        return str(bad)
    return None


def check_picture(selected: Selected, max_pixels: int) -> Selected:
    """The same selection, or none of the sample where one of its pictures cannot be decoded."""
    sample = selected.sample
    if sample is None or sample.image is None:
        return selected
    for content in (sample.image, *sample.more_images):
        fault = find_picture_fault(content, max_pixels)
        if fault is not None:
            return Selected(None, 0, fault)
    return selected


def needs_no_caption(error: str) -> bool:
    """Whether a sample with this error can be used for its questions or statements all the same."""
    return error.partition(":")[0] in {MISSING, *TEXT_FAULTS}
