"""The part of a sample that training and evaluation use: its picture and its sound texts."""

from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from blip.data.captions import clean_caption
from blip.data.dialogues import DIALOGUE
from blip.data.images import BadImageError, decode_image
from blip.data.questions import QUESTIONS
from blip.data.sample import Sample, Selected
from blip.data.statements import STATEMENTS
from blip.data.texts import MISSING, TEXT_FAULTS

TASK_OF = {QUESTIONS: "vqa", STATEMENTS: "nlvr", DIALOGUE: "visdial"}
"""Which task trains on the annotations that a sample holds under this name in `meta`."""
Content = TypeVar("Content")
Item = TypeVar("Item")


class Usable(NamedTuple, Generic[Content]):
    """What a sample holds that can be used, and what is wrong with the rest."""

    sound: Content
    """Such as its texts, questions or statements that are not empty once they are cleaned; those of
    a sample that is left out, too."""
    sample_fault: str | None
    """Why the whole sample is left out; None where it is not, as far as its pictures are sound."""
    part_fault: str | None
    """Why a part of it is left out, while another one is sound."""


def find_usable(sample: Sample) -> Usable[list[str]]:
    """Tell sound texts from bad ones, without decoding the picture."""
    texts = [text for text in sample.texts if clean_caption(text)]
    if sample.image is None:
        return Usable(texts, sample.error or "missing_image", None)
    if sample.error is None:
        return Usable(texts, None if texts else "empty_caption", None)
    if texts and sample.error.partition(":")[0] in TEXT_FAULTS:
        return Usable(texts, None, sample.error)
    return Usable(texts, sample.error, None)


def find_fault_beside_texts(sample: Sample) -> str | None:
    """Why nothing that stands in the `meta` of a sample can be used, whatever its texts are.

    A sample with questions, statements or a dialogue needs no caption beside them.
    """
    if sample.image is None:
        return sample.error or "missing_image"
    needs_no_caption = {MISSING, *TEXT_FAULTS}
    if sample.error is not None and sample.error.partition(":")[0] not in needs_no_caption:
        return sample.error
    return None


def leave_out_empty(
    items: Sequence[Item],
    part_fault: str | None,
    clean: Callable[[Item], str],
    name: Callable[[Item], object],
    *,
    empty: str,
    none: str,
) -> Usable[list[Item]]:
    """Those of some questions or statements whose `clean` text is not empty.

    `part_fault` is what was wrong before; else `empty`, how many are and the first of them. Without
    any sound one it is the fault of the sample, or `none` is.
    """
    sound = [item for item in items if clean(item)]
    if len(sound) < len(items) and part_fault is None:
        first = next(item for item in items if not clean(item))
        lost = len(items) - len(sound)
        counted = f"{lost} of {len(items)}, as " if lost > 1 else ""
        part_fault = f"{empty}: {counted}{name(first)}"
    return Usable(sound, None if sound else (part_fault or none), part_fault)


def say_what_is_there(none: str, sample: Sample, wanted: str) -> str:
    """The fault `none`, and what the sample has in `meta` instead of what is `wanted`."""
    there = [it for it in TASK_OF if it != wanted and it in sample.meta]
    others = [f"{it} ({TASK_OF[it]})" for it in there]
    return f"{none}: it has {', '.join(others)}" if others else none


def leave_out_without_truth(
    found: Usable[list[Item]],
    has_truth: Callable[[Item], bool],
    name: Callable[[Item], object],
    *,
    missing: str,
) -> Usable[list[Item]]:
    """Those of a sample's questions or statements whose truth is known, to train with.

    `missing`, how many others there are and the first of them are its `part_fault`.
    """
    sound, sample_fault, part_fault = found
    if sample_fault is not None:
        return found
    known = [item for item in sound if has_truth(item)]
    if len(known) < len(sound):
        first = next(item for item in sound if not has_truth(item))
        part_fault = f"{missing}: {len(sound) - len(known)} of {len(sound)}, as {name(first)}"
    return Usable(known, None if known else part_fault, part_fault)


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
