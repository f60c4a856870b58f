"""Kept texts to samples of the output shard."""

from collections.abc import Sequence
from typing import Any

from blip.capfilt.ledger.kept_texts import SampleWriter
from blip.capfilt.ledger.records import TextRecord
from blip.data.sample import Sample
from blip.data.writers.meta import encodable

CAPTION = "caption"
"""The field of KEY.json that img2dataset repeats the text in."""
CAPTIONS = frozenset({"captions", "texts", "sentences"})
"""Fields that hold all texts of the input's sample; the output has one of them."""
TEXTS = frozenset({"text", "sentence", "alt", "alt_text"})
"""Other fields that a text may be repeated in, in any case."""


def write_kept(writer: SampleWriter, sample: Sample, records: Sequence[TextRecord]) -> None:
    """Write one sample for every kept record.

    KEY.json carries on what the input's held, and says where the text is from.
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
        meta = {**_with_text(record.text, carried, sample.texts), **origin}
        writer.write(record.output_key, sample.image, sample.extension, record.text, meta)


def _with_text(text: str, meta: dict[str, Any], before: Sequence[str]) -> dict[str, Any]:
    """The input's fields, those that repeated one of its texts with the text of this sample."""
    fields: dict[str, Any] = {}
    for name, value in meta.items():
        known = name.casefold()
        if known in CAPTIONS and (name in CAPTIONS or isinstance(value, list)):
            continue
        repeats = isinstance(value, str) and value.strip() in before
        fields[name] = text if known == CAPTION or (known in TEXTS and repeats) else value
    return fields
