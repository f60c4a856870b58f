"""Records of samples as a job makes them, at random, and what a plain loop says of them."""

import io
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import strategies as st

from blip.capfilt.filters.config import FilterRules
from blip.capfilt.filters.decide import decide
from blip.capfilt.ledger.files import SCHEMA, records_to_table
from blip.capfilt.ledger.parquet import open_writer
from blip.capfilt.ledger.records import Counts, TextRecord

TEXTS = (
    "a red square",
    "A red square.",
    "two blue stars on a field",
    "buy",
    "IMG 2041",
    "\u00e9 a b c",
)
SCORES = (0.0, 0.2, 0.499999, 0.5, 0.7, 0.7, 1.0)
HASHES = (None, 0, 1, 0b111, 2**64 - 1)


@st.composite
def samples(draw, most: int = 8) -> list[list[TextRecord]]:
    """Samples of a shard, sound ones and bad ones."""
    return [draw(_sample(number)) for number in range(draw(st.integers(0, most)))]


@st.composite
def _sample(draw, number: int) -> list[TextRecord]:
    key = f"{number // 2 if draw(st.booleans()) else number:03d}-{number}"
    if draw(st.integers(0, 5)) == 0:
        return [record(key, "bad", 0, "", None, reason="truncated_image", size=None)]
    size = (draw(st.integers(1, 40)), draw(st.integers(1, 40)))
    image = draw(st.sampled_from(HASHES))
    found = []
    for source, most in (("web", 2), ("synthetic", 3)):
        for place in range(draw(st.integers(int(source == "web"), most))):
            text = draw(st.sampled_from(TEXTS))
            score = draw(st.sampled_from((*SCORES, None)))
            found.append(record(key, source, place, text, score, size=size, image=image))
    return found


def record(
    key, source, number, text, score, *, size=(8, 8), image=None, reason="empty_text", itc=None
) -> TextRecord:
    return TextRecord(
        shard="s",
        key=key,
        source=source,
        number=number,
        text=text,
        itm_score=score,
        itc_cosine=None if score is None else (score - 0.5 if itc is None else itc),
        kept=False,
        reason="match" if score is not None else reason,
        captioner="c",
        filter="f",
        seed=0,
        width=size and size[0],
        height=size and size[1],
        image_hash=image,
        language=None,
        repeats=None,
        error=None,
    )


def decide_records(
    records: Sequence[TextRecord], threshold: float, rules: FilterRules
) -> list[TextRecord]:
    """Decided as columns, as a job decides them, and made records again."""
    table = decide(records_to_table(records), threshold, rules)
    columns = (table[name].to_pylist() for name in ("kept", "reason", "language"))
    return [
        replace(record, kept=kept, reason=reason, language=language)
        for record, kept, reason, language in zip(records, *columns, strict=True)
    ]


def encode_ledger(records: Sequence[TextRecord]) -> bytes:
    """The ledger file of some records, in one row group."""
    buffer = io.BytesIO()
    with open_writer(buffer, SCHEMA) as writer:
        if records:
            writer.write_table(records_to_table(records), row_group_size=len(records))
    return buffer.getvalue()


def count_samples(samples: Sequence[Sequence[TextRecord]]) -> Counts:
    """Counts of samples by a loop over their records."""
    counts = Counts()
    for records in samples:
        counts.images += 1
        if any(record.source == "bad" for record in records):
            counts.images_bad += 1
        elif any(record.kept for record in records):
            counts.images_kept += 1
        else:
            counts.images_dropped += 1
        for record in records:
            counts.reasons[record.reason] += 1
            if record.source != "bad":
                name = f"{record.source}_{'kept' if record.kept else 'dropped'}"
                setattr(counts, name, getattr(counts, name) + 1)
    return counts
