"""Kept texts to samples of the output shard."""

import json
import math
from collections.abc import Sequence
from typing import Any

from blip.capfilt.record import TextRecord
from blip.capfilt.texts import SampleWriter
from blip.data.sample import Sample

CAPTION = "caption"
"""The field of KEY.json that img2dataset repeats the text in."""
CAPTIONS = frozenset({"captions", "texts", "sentences"})
"""Fields that hold all texts of the input's sample; they would speak of other texts."""
TEXTS = frozenset({"text", "sentence", "alt", "alt_text"})
"""Other fields that a text may be repeated in, in any case."""


def write_kept(writer: SampleWriter, sample: Sample, records: Sequence[TextRecord]) -> None:
    """Write one sample for every kept record.

    KEY.json carries on what the input's held, and says where the text is from. What would be null
    is left out: readers that take a field's type from the first samples refuse null there and a
    text later.
    """
    if sample.image is None:
        return
    carried = encodable(sample.meta)
    web = next((record.text for record in records if record.source == "web"), "")
    for record in records:
        if not record.kept:
            continue
        origin = {
            "key": record.key,
            "source": record.source,
            "itm_score": record.itm_score,
            "itc_cosine": record.itc_cosine,
            "captioner": record.captioner,
            "filter": record.filter,
            "seed": record.seed,
            "original": web,
        }
        told = {name: value for name, value in origin.items() if value is not None}
        meta = {**_speaking_of(record.text, carried, sample.texts), **told}
        writer.write(record.output_key, sample.image, sample.extension, record.text, meta)


def encodable(meta: dict[str, Any]) -> dict[str, Any]:
    """What JSON in UTF-8 can hold of it: lone surrogates become question marks, null is left out.

    Nothing is carried on of what is nested so deeply that it cannot be written again.
    """
    try:
        plain = json.loads(json.dumps(meta, ensure_ascii=False).encode("utf-8", "replace"))
        return _without_null(plain) or {}
    except RecursionError:
        return {}


def _speaking_of(text: str, meta: dict[str, Any], before: Sequence[str]) -> dict[str, Any]:
    """The input's fields, those that repeated one of its texts with the text of this sample."""
    fields: dict[str, Any] = {}
    for name, value in meta.items():
        known = name.casefold()
        if known in CAPTIONS and (name in CAPTIONS or isinstance(value, list)):
            continue
        repeats = isinstance(value, str) and value.strip() in before
        fields[name] = text if known == CAPTION or (known in TEXTS and repeats) else value
    return fields


def _without_null(value: Any) -> Any:
    """A JSON value without the fields of which no reader can tell the type; None for nothing."""
    if isinstance(value, dict):
        fields = {name: _without_null(item) for name, item in value.items()}
        return {name: item for name, item in fields.items() if item is not None} or None
    if isinstance(value, list):
        items = [_without_null(item) for item in value]
        return items if any(item is not None for item in items) else None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
