"""Kept texts to samples of the output shard."""

import json
from collections.abc import Sequence
from typing import Any

from blip.capfilt.record import TextRecord
from blip.capfilt.texts import SampleWriter
from blip.data.sample import Sample

NOT_CARRIED = frozenset({"captions"})
"""Keys of the input's KEY.json that would speak of other texts."""


def write_kept(writer: SampleWriter, sample: Sample, records: Sequence[TextRecord]) -> None:
    """Write one sample for every kept record.

    KEY.json carries on what the input's held, and says where the text is from.
    """
    if sample.image is None:
        return
    carried = encodable({n: value for n, value in sample.meta.items() if n not in NOT_CARRIED})
    web = next((record.text for record in records if record.source == "web"), None)
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
        meta = {**carried, **origin}
        writer.write(record.output_key, sample.image, sample.extension, record.text, meta)


def encodable(meta: dict[str, Any]) -> dict[str, Any]:
    """Lone surrogates, which JSON can spell and UTF-8 cannot, become question marks.

    Nothing is carried on of what is nested so deeply that it cannot be written again.
    """
    try:
        return json.loads(json.dumps(meta, ensure_ascii=False).encode("utf-8", "replace"))
    except RecursionError:
        return {}
