"""Captions as rows of a result file that the servers of COCO and NoCaps take."""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from blip.data.examples.evaluation_set import EvaluationSet
from blip.data.sample import OFFICIAL_ID

_COCO_NAME = re.compile(r"(?:COCO_[a-z]+\d{4}_)?(\d{12})", re.ASCII)
"""COCO's names of pictures, with and without their split."""


def image_id(key: str, meta: Mapping[str, Any]) -> int | str:
    """The official id of an image: that of its annotation file, else the number in its COCO name.

    Of any other name the key itself, as text.
    """
    own = meta.get(OFFICIAL_ID)
    if isinstance(own, int) and not isinstance(own, bool):
        return own
    number = _COCO_NAME.fullmatch(PurePosixPath(key).stem)
    return int(number[1]) if number else key


def caption_rows(data: EvaluationSet, captions: Mapping[str, str]) -> list[dict[str, Any]]:
    """`{"image_id": 391895, "caption": "..."}` of each image, of captions by key."""
    return [
        {"image_id": image_id(key, meta), "caption": captions[key]}
        for key, meta in zip(data.keys, data.metas, strict=True)
    ]
