"""Draws report.html of a finished job from its ledger and its input."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from blip.capfilt.ledger.files import read_groups
from blip.capfilt.ledger.records import SOURCES, Counts, TextRecord
from blip.capfilt.report.findings import KINDS, Findings
from blip.capfilt.report.page import Card, Page, render
from blip.capfilt.report.thresholds import Thresholds, thresholds_for_page
from blip.capfilt.shards.layout import Layout
from blip.capfilt.shards.source import ShardTask, read_samples
from blip.data.images import BadImageError, decode_image
from blip.data.keys import storable
from blip.errors import BlipError, UsageError
from blip.files import write_atomically
from blip.log import say
from blip.pages.pictures import thumbnail

SHARDS_SHOWN = 16
"""Shards whose samples are shown, distributed over the job: their pictures must be read again."""
PICTURE_BYTES = 11_000_000
"""Limit for all pictures of cards together, with which the page stays below 20 MB."""
EXAMPLE_BYTES = 3_000_000
"""Likewise of examples of thresholds."""


def write_report(
    layout: Layout, tasks: Sequence[ShardTask], counts: Counts, settings: dict[str, Any]
) -> Path:
    """Write `report.html`, which needs no server and no other file; returns its path.

    It depends on the ledgers and the input shards alone. One row group of a ledger is in memory at
    a time.
    """
    step = max(1, -(-len(tasks) // SHARDS_SHOWN))
    shown = {task.name for task in tasks[::step]}
    findings, thresholds = Findings(), Thresholds.of_job(settings)
    for task in tasks:
        for group in read_groups(layout.ledger(task.name)):
            findings.add(group, show=task.name in shown)
            thresholds.add(group, show=task.name in shown)
    chosen, examples = findings.chosen(), thresholds.chosen()
    of_cards = [records[0] for kind in chosen for records in kind]
    found = _thumbnails(tasks, [*of_cards, *examples])
    pictures = _within(PICTURE_BYTES, found, of_cards)
    totals = {source: sum(counts.texts(source)) for source in SOURCES}
    page = Page(
        counts=counts,
        settings=settings,
        shards=len(tasks),
        findings=findings,
        threshold=settings["threshold"],
        explorer=thresholds_for_page(
            thresholds, settings, totals, _within(EXAMPLE_BYTES, found, examples)
        ),
        sections=[
            (title, meaning, [Card(pictures.get(_place(r[0])), r) for r in kind])
            for (title, meaning), kind in zip(KINDS, chosen, strict=True)
        ],
    )
    path = layout.out / "report.html"
    write_atomically(path, render(page))
    return path


def _place(record: TextRecord) -> tuple[str, str]:
    return record.shard, record.key


def _thumbnails(
    tasks: Sequence[ShardTask], records: Sequence[TextRecord]
) -> dict[tuple[str, str], str]:
    """Small JPEGs as data addresses, by shard and key; unreadable ones are left out.

    After the first remote original that cannot be reached none is tried: each costs minutes.
    """
    keys_of: dict[str, set[str]] = {}
    for record in records:
        keys_of.setdefault(record.shard, set()).add(record.key)
    found: dict[tuple[str, str], str] = {}
    try:
        for task in tasks:
            if keys := keys_of.get(task.name):
                _read_thumbnails(task, keys, found)
    except BlipError as error:
        say(f"the report lacks pictures: {error}")
    return found


def _within(
    limit: int, found: Mapping[tuple[str, str], str], records: Sequence[TextRecord]
) -> dict[tuple[str, str], str]:
    """The pictures of the first of some records, which together are not longer than `limit`."""
    chosen: dict[tuple[str, str], str] = {}
    for place in dict.fromkeys(map(_place, records)):
        limit -= len(found.get(place, ""))
        if limit < 0:
            break
        if place in found:
            chosen[place] = found[place]
    return chosen


def _read_thumbnails(task: ShardTask, keys: set[str], found: dict[tuple[str, str], str]) -> None:
    try:
        samples = read_samples(task)
        for sample in samples:
            key = storable(sample.key)
            if key not in keys or sample.image is None:
                continue
            keys.discard(key)
            try:
                found[task.name, key] = thumbnail(decode_image(sample.image))
            except BadImageError:
                continue
            if not keys:
                return
    # Where an original is gone, the page lacks its pictures.
    except (OSError, UsageError):
        return
