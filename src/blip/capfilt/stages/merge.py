"""Kept texts to samples of the output shard."""

from collections.abc import Mapping, Sequence
from typing import Any

from blip.capfilt.ledger.records import output_key
from blip.data.sample import Sample
from blip.data.writers.meta import encodable
from blip.data.writers.shards import ShardWriter

ORIGIN = ("key", "source", "itm_score", "itc_cosine", "captioner", "filter", "seed")
"""Columns of the ledger that KEY.json repeats."""
CAPTION = "caption"
"""The field of KEY.json in which img2dataset repeats the text."""
CAPTIONS = frozenset({"captions", "texts", "sentences"})
"""Fields that hold all texts of the input's sample; the output, which has one text, omits them."""
TEXTS = frozenset({"text", "sentence", "alt", "alt_text"})
"""Other fields that may repeat the text; upper and lower case are the same."""


def write_kept(writer: ShardWriter, sample: Sample, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write one sample for every kept row of the ledger, of all `rows` of the input's sample.

    KEY.json keeps the fields of the input's, and adds where the text is from.
    """
    if sample.image is None:
        return
    carried = encodable(sample.meta)
    web = next((row["text"] for row in rows if row["source"] == "web"), "")
    for row in rows:
        if not row["kept"]:
            continue
        text = row["text"]
        origin = {**{name: row[name] for name in ORIGIN}, "original": web}
        meta = {**_with_text(text, carried, sample.texts), **origin}
        key = output_key(row["key"], row["source"], row["number"])
        writer.write(key, sample.image, sample.extension, text, meta)


def _with_text(text: str, meta: dict[str, Any], before: Sequence[str]) -> dict[str, Any]:
    """The input's fields; those that repeated one of its texts get the text of this sample."""
    fields: dict[str, Any] = {}
    for name, value in meta.items():
        known = name.casefold()
        if known in CAPTIONS and (name in CAPTIONS or isinstance(value, list)):
            continue
        repeats = isinstance(value, str) and value.strip() in before
        fields[name] = text if known == CAPTION or (known in TEXTS and repeats) else value
    return fields
