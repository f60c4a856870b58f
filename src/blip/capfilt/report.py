"""Draw report.html of a finished job from its ledger and its input."""

import base64
import heapq
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from blip.capfilt.ledger import read_ledger
from blip.capfilt.record import Counts, TextRecord
from blip.capfilt.report_page import Card, Page, render
from blip.capfilt.shard import Layout, Settings
from blip.capfilt.source import ShardTask, read_samples
from blip.data.images import BadImageError, decode_image
from blip.files import write_atomically

BINS = 20
CARDS = 24
"""Samples shown of each kind."""
SHARDS_SHOWN = 16
"""Shards from which samples are shown, spread over the job: their pictures must be read again."""
BAD_SHOWN = 100
THUMBNAIL = 160
"""Longest side of a picture in the report, in pixels."""

KINDS = (
    ("Web text replaced", "the web text was dropped, a synthetic one was kept"),
    ("Image lost", "no text matched"),
    ("Synthetic text refused", "the web text was kept, no synthetic one was"),
    ("Both kept", "web and synthetic text match"),
)
"""Kinds of samples, the most changed first, and what they mean."""


@dataclass(slots=True)
class _Findings:
    """What one pass over the ledger collects."""

    bins: dict[str, list[int]] = field(
        default_factory=lambda: {"web": [0] * BINS, "synthetic": [0] * BINS}
    )
    cards: list[list[tuple[float, int, list[TextRecord]]]] = field(
        default_factory=lambda: [[] for _ in KINDS]
    )
    """Of each kind a heap of (change, -order, records)."""
    bad: list[TextRecord] = field(default_factory=list)
    order: int = 0

    def add(self, records: list[TextRecord], *, show: bool) -> None:
        """Take in the texts of one sample."""
        for record in records:
            if record.itm_score is not None:
                self.bins[record.source][min(int(record.itm_score * BINS), BINS - 1)] += 1
        if show:
            self.order += 1
            entry = (_change(records), -self.order, records)
            heap = self.cards[_kind(records)]
            (heapq.heappush if len(heap) < CARDS else heapq.heappushpop)(heap, entry)


def write_report(
    layout: Layout, tasks: Sequence[ShardTask], counts: Counts, settings: Settings
) -> Path:
    """Write `report.html`, which needs no server and no other file; returns its path.

    It is made from the ledger and the input shards alone, and the same for the same job.
    """
    step = max(1, -(-len(tasks) // SHARDS_SHOWN))
    shown = {task.name for task in tasks[::step]}
    findings = _Findings()
    for task in tasks:
        for records in _samples(layout.ledger(task.name)):
            if records[0].source == "bad":
                findings.bad += records[: BAD_SHOWN - len(findings.bad)]
            else:
                findings.add(records, show=task.name in shown)
    chosen = [[entry[2] for entry in sorted(heap, reverse=True)] for heap in findings.cards]
    pictures = _thumbnails(tasks, [records[0] for kind in chosen for records in kind])
    page = Page(
        counts=counts,
        settings=settings.to_json(),
        shards=len(tasks),
        bins=findings.bins,
        threshold=settings.threshold,
        sections=[
            (title, meaning, [Card(pictures.get(_place(r[0])), r) for r in kind])
            for (title, meaning), kind in zip(KINDS, chosen, strict=True)
        ],
        bad=findings.bad,
    )
    path = layout.out / "report.html"
    write_atomically(path, render(page))
    return path


def _samples(ledger: Path) -> Iterator[list[TextRecord]]:
    """Records sample by sample; a bad one stands alone even behind a sample of the same key."""
    for _, records in groupby(read_ledger(ledger), key=lambda r: (r.key, r.source == "bad")):
        yield list(records)


def _best(records: Sequence[TextRecord], source: str) -> float:
    return max((r.itm_score or 0.0 for r in records if r.source == source), default=0.0)


def _change(records: Sequence[TextRecord]) -> float:
    return abs(_best(records, "synthetic") - _best(records, "web"))


def _kind(records: Sequence[TextRecord]) -> int:
    web = any(r.kept for r in records if r.source == "web")
    synthetic = any(r.kept for r in records if r.source == "synthetic")
    return {(False, True): 0, (False, False): 1, (True, False): 2, (True, True): 3}[web, synthetic]


def _place(record: TextRecord) -> tuple[str, str]:
    return record.shard, record.key


def _thumbnails(
    tasks: Sequence[ShardTask], records: Sequence[TextRecord]
) -> dict[tuple[str, str], str]:
    """Small JPEGs as data addresses, by shard and key; without those that cannot be read now."""
    wanted: dict[str, set[str]] = {}
    for record in records:
        wanted.setdefault(record.shard, set()).add(record.key)
    found: dict[tuple[str, str], str] = {}
    for task in tasks:
        keys = wanted.get(task.name, set())
        for sample in read_samples(task) if keys else ():
            if sample.key not in keys or sample.image is None:
                continue
            keys.discard(sample.key)
            try:
                found[task.name, sample.key] = _thumbnail(sample.image)
            except BadImageError:
                continue
            if not keys:
                break
    return found


def _thumbnail(content: bytes) -> str:
    image = decode_image(content)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
