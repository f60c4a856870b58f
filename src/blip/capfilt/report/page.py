"""The words and numbers of report.html, which its template puts into place."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blip.capfilt.ledger.records import OF_TEXTS, SOURCES, Counts, TextRecord
from blip.capfilt.report.charts import Chart, make_chart
from blip.capfilt.report.findings import Findings, Histogram, Words, changed_words
from blip.pages.render import render_page, to_script

TEMPLATE = Path(__file__).parent / "templates/report.html"
TEXT_SHOWN = 240
"""Characters of a text in a card."""
TEXTS_SHOWN = 8
"""Texts of a card."""
CELL_SHOWN = 200
"""Characters of a cell of the bad samples."""
CARDS_OPEN = 12
"""Cards of a kind that are seen at once; the others are unfolded."""
WORDS_SHOWN = 24


@dataclass(frozen=True, slots=True)
class Card:
    """A sample on the page."""

    picture: str | None
    """Data address of a small picture."""
    records: Sequence[TextRecord]


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """All that the page shows."""

    counts: Counts
    settings: dict[str, Any]
    shards: int
    findings: Findings
    threshold: float
    sections: Sequence[tuple[str, str, Sequence[Card]]]
    """Title, meaning, samples."""
    explorer: Mapping[str, Any]
    """What the script that moves the threshold reads."""


def render(page: Page) -> str:
    """The whole file; the same page gives the same bytes."""
    findings = page.findings
    min_itc = page.settings.get("rules", {}).get("min_itc")
    quarters, halves = (0, 0.25, 0.5, 0.75, 1), (-1, -0.5, 0, 0.5, 1)
    return render_page(
        TEMPLATE,
        counts=page.counts,
        shards=page.shards,
        threshold=page.threshold,
        explorer=to_script(page.explorer),
        can_move_itc=len(page.explorer["itc"]) > 1,
        totals=list(_totals(page.counts)),
        itm_charts=list(_charts("ITM probability", findings.itm, quarters, page.threshold)),
        itc_charts=list(_charts("ITC cosine", findings.itc, halves, min_itc)),
        word_charts=list(_charts("Words", findings.lengths, (1, 10, 20, 30, 40))),
        reasons=list(_reasons(page.counts)),
        vocabulary=_vocabulary(findings.words),
        sections=list(_sections(page.sections)),
        bad=[_bad(record) for record in findings.bad],
        settings=list(_settings(page.settings)),
    )


def _totals(counts: Counts) -> Iterator[tuple[str, int, int, str]]:
    """Of each source the kept and dropped texts, and the share that was kept."""
    for source in SOURCES:
        kept, dropped = counts.texts(source)
        share = f"{kept / (kept + dropped):.1%}" if kept + dropped else "-"
        yield source, kept, dropped, share


def _charts(
    title: str,
    of_sources: Mapping[str, Histogram],
    ticks: Sequence[float],
    mark: float | None = None,
) -> Iterator[Chart]:
    for source, histogram in of_sources.items():
        if histogram.total:
            yield make_chart(f"{title}, {source} texts", histogram, ticks, mark)


def _reasons(counts: Counts) -> Iterator[tuple[str, str, int]]:
    """Reasons with what they concern, the most frequent first."""
    for reason, count in sorted(counts.reasons.items(), key=lambda item: (-item[1], item[0])):
        yield reason, "text" if reason in OF_TEXTS else "bad sample", count


def _vocabulary(words: Words) -> dict[str, Any] | None:
    """Words before and after; None where there is nothing to compare."""
    if not (words.texts_before and words.texts_after):
        return None
    before, after = words.before, words.after
    rows = [
        ("different words", f"{len(before):,}", f"{len(after):,}"),
        ("that occur once", *(f"{list(c.values()).count(1):,}" for c in (before, after))),
        (
            "words a text",
            f"{before.total() / words.texts_before:.1f}",
            f"{after.total() / words.texts_after:.1f}",
        ),
        (
            "gone, new",
            f"{len(before.keys() - after.keys()):,}",
            f"{len(after.keys() - before.keys()):,}",
        ),
    ]
    changed = [
        (word[:40], f"{share_before:.2%}", f"{share_after:.2%}")
        for word, share_before, share_after in changed_words(words, WORDS_SHOWN)
    ]
    return {
        "texts_before": words.texts_before,
        "texts_after": words.texts_after,
        "rows": rows,
        "changed": changed,
    }


def _sections(sections: Sequence[tuple[str, str, Sequence[Card]]]) -> Iterator[dict[str, Any]]:
    for number, (title, meaning, cards) in enumerate(sections):
        if cards:
            shown = [_card(card) for card in cards]
            yield {
                "place": f"kind-{number}",
                "title": title,
                "meaning": meaning,
                "count": len(cards),
                "open": shown[:CARDS_OPEN],
                "folded": shown[CARDS_OPEN:],
            }


def _card(card: Card) -> dict[str, Any]:
    first = card.records[0]
    return {
        "title": f"{first.shard[:80]} / {first.key}",
        "picture": card.picture,
        "texts": [_text(record) for record in card.records[:TEXTS_SHOWN]],
        "more": max(len(card.records) - TEXTS_SHOWN, 0),
    }


def _text(record: TextRecord) -> dict[str, str]:
    details = "" if record.kept else f" ({record.reason})"
    if record.itm_score is not None:
        details += f" ITM {record.itm_score:.3f}"
    if record.itc_cosine is not None:
        details += f", ITC {record.itc_cosine:.3f}"
    return {
        "shown": shortened(record.text),
        "source": record.source,
        "verdict": "kept" if record.kept else "dropped",
        "details": details,
    }


def _bad(record: TextRecord) -> list[str]:
    cells = (record.shard, record.key, record.error or record.reason)
    return [cell[:CELL_SHOWN] for cell in cells]


def _settings(settings: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Settings by name; of a group of settings those that are not off."""
    for name, value in sorted(settings.items()):
        if isinstance(value, dict):
            on = {n: entry for n, entry in sorted(value.items()) if entry not in (None, [], False)}
            value = ", ".join(f"{inner} {entry!r}" for inner, entry in on.items()) or "none"
        yield name, str(value)


def shortened(text: str) -> str:
    """The first characters of a text."""
    return text[:TEXT_SHOWN] + ("..." if len(text) > TEXT_SHOWN else "")
